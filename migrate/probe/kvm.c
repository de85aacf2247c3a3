/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/probe/kvm.c - subject: KVM, guest_memfd and KVM userfault, by memory/gmem_probe.c.
 *
 * That makes a virtual machine of one page and lets its vCPU run into it in real mode.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "base/kvm_abi.h"
#include "memory/gmem_probe.h"
#include "migrate/probe/subjects.h"

#define KVM_API 12
#define NOT_RELEASED "no released kernel has it; tests/kernel builds one that has"

static int try_device(struct pf_trial *trial, struct pf_found *out, struct pf_err *err)
{
	pf_auto_fd int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm = -1;

	(void)trial, (void)out;
	if (kvm < 0) {
		pf_err_sys(err, "opening /dev/kvm");
		if (err->sys == EACCES || err->sys == EPERM)
			return pf_err_hint(err, "add this user to the group of /dev/kvm");
		return pf_err_hint(err,
				   "load kvm_intel or kvm_amd, and see that the firmware has "
				   "virtualization on; in a virtual machine it must be nested, in "
				   "a container the device must be passed in");
	}
	if (ioctl(kvm, KVM_GET_API_VERSION, 0) != KVM_API)
		return pf_check_no(err, "it speaks another version than %d", KVM_API);
	vm = ioctl(kvm, KVM_CREATE_VM, 0ul);
	return vm >= 0 ? 0 : pf_err_sys(err, "KVM_CREATE_VM");
}

/* guest_memfd's flags in words: "0x3, MMAP INIT_SHARED". */
static void print_flags(uint64_t flags, struct pf_found *out)
{
	static const char *const names[] = {"MMAP", "INIT_SHARED", "NO_DIRECT_MAP", "WRITE"};
	size_t used = (size_t)snprintf(out->what, sizeof(out->what), "flags 0x%" PRIx64, flags);

	for (size_t i = 0; i < PF_ARRAY_LEN(names); i++)
		if (flags & (UINT64_C(1) << i))
			used += (size_t)snprintf(out->what + used, sizeof(out->what) - used, " %s",
						 names[i]);
}

static int answer(const struct pf_trial *trial, enum pf_gmem_feature feature, struct pf_err *err)
{
	const struct pf_gmem_probe *found = trial->state;

	if (found && found->feature[feature].works)
		return 0;
	if (!found) {
		*err = (struct pf_err){0};
		return pf_err_set(err, PF_ERR_STATE, "out of memory");
	}
	*err = found->feature[feature].why;
	/* Then the others have its reason, and nothing of them was tried. */
	return feature != PF_GMEM_FILE && !found->feature[PF_GMEM_FILE].works ? 1 : -1;
}

static int try_file(struct pf_trial *trial, struct pf_found *out, struct pf_err *err)
{
	struct pf_gmem_probe *found = calloc(1, sizeof(*found));
	pf_auto_fd int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	trial->state = found;
	if (found)
		pf_gmem_probe(found);
	if (kvm < 0) {
		pf_err_sys(err, "opening /dev/kvm");
		return 1;
	}
	print_flags(found ? found->flags : 0, out);
	return answer(trial, PF_GMEM_FILE, err);
}

static int try_write(struct pf_trial *trial, struct pf_found *out, struct pf_err *err)
{
	(void)out;
	return answer(trial, PF_GMEM_WRITE, err);
}

static int try_uffd(struct pf_trial *trial, struct pf_found *out, struct pf_err *err)
{
	const struct pf_gmem_probe *found = trial->state;

	if (found && found->modes)
		pf_check_says(out, "%s%s",
			      found->modes & UFFDIO_REGISTER_MODE_MISSING ? "MISSING" : "",
			      found->modes & UFFDIO_REGISTER_MODE_MINOR ? " and MINOR" : " only");
	return answer(trial, PF_GMEM_UFFD, err);
}

static int try_userfault(struct pf_trial *trial, struct pf_found *out, struct pf_err *err)
{
	int found = answer(trial, PF_GMEM_USERFAULT, err);

	if (found == 0)
		pf_check_says(out, "a vCPU left with exit reason %d, flag 0x%" PRIx64,
			      PF_KVM_EXIT_MEMORY_FAULT, PF_KVM_MEMORY_FAULT_USERFAULT);
	return found;
}

static const struct pf_check rows[] = {
	{"device", "/dev/kvm", try_device, NULL, "access to /dev/kvm"},
	{"guest-memfd", "guest_memfd that can be mapped", try_file, NULL, "access to /dev/kvm"},
	{"guest-memfd-write", "write(2) on guest_memfd", try_write,
	 "nothing: pages are then copied through a mapping, which is slower; tests/kernel builds a "
	 "kernel that has it",
	 "access to /dev/kvm"},
	{"guest-memfd-userfaultfd", "userfaultfd on guest_memfd", try_uffd, NOT_RELEASED,
	 "access to /dev/kvm"},
	{"userfault", "KVM userfault: vCPUs leave at absent pages", try_userfault, NOT_RELEASED,
	 "access to /dev/kvm"},
};

const struct pf_subject pf_subject_kvm = {
	.name = "kvm",
	.title = "KVM and guest_memfd",
	.check = rows,
	.checks = PF_ARRAY_LEN(rows),
};
