/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/exits_kit.c - see tests/unit/exits_kit.h. */
#include "exits_kit.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "memory/row.h"

struct pager_kit kit;
int vcpus_end;
_Atomic uint64_t traps[PAGES], stuck, busy, gate;
_Atomic int broken;
_Atomic bool at_gate;
pthread_mutex_t gate_lock = PTHREAD_MUTEX_INITIALIZER;
static enum pf_map_result (*map_really)(const struct pf_guest *, uint32_t, uint32_t, uint64_t, uint32_t,
					uint32_t *);

static int set_traps(const struct pf_guest *guest, uint32_t region, uint64_t first, uint64_t count,
		     bool on)
{
	(void)guest, (void)region;
	errno = atomic_load(&broken);
	if (errno)
		return -1;
	for (uint64_t page = first; page < first + count; page++)
		atomic_store(&traps[page], on);
	return 0;
}

static enum pf_map_result map_but(const struct pf_guest *guest, uint32_t region, uint32_t mapping,
				  uint64_t first, uint32_t count, uint32_t *out_pages)
{
	*out_pages = 0;
	if (pk_is_bulk_thread() && first == atomic_load(&busy))
		return PF_MAP_AGAIN;
	if (first == atomic_load(&gate)) {
		atomic_store(&at_gate, true);
		pthread_mutex_lock(&gate_lock);
		pthread_mutex_unlock(&gate_lock);
	}
	errno = EIO;
	return first == atomic_load(&stuck)
		       ? PF_MAP_FAILED
		       : map_really(guest, region, mapping, first, count, out_pages);
}

void open_held(uint64_t features, bool offline)
{
	static struct pf_placer row;
	struct pf_guest *guest = &kit.guest;
	struct pf_err err = {0};
	int pair[2];

	pk_open(&kit, &(struct pk_how){
			      .pages = PAGES, .features = features, .hold = true, .offline = offline});
	row = *guest->region[0].placer;
	row.set_traps = set_traps;
	map_really = row.map;
	row.map = map_but;
	atomic_store(&stuck, NO_PAGE);
	atomic_store(&busy, NO_PAGE);
	atomic_store(&gate, NO_PAGE);
	guest->region[0].placer = &row;
	guest->table.region[0].gpa = GPA;
	guest->region[0].has_bitmap = true;
	guest->region[0].machine_checks = true;
	guest->region[0].bitmap_fd = memfd_create("bitmap", MFD_CLOEXEC);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	guest->fault_fd = pair[0];
	guest->has_faults = true;
	vcpus_end = pair[1];
	for (uint32_t page = 0; page < PAGES; page++)
		atomic_store(&traps[page], 1);
	atomic_store(&broken, 0);
	assert_int_equal(pf_slots_create(&guest->slots, kit.dirfd, &err), 0);
}

void open_kit(void)
{
	open_held(0, false);
	pk_give(&kit);
}

void close_kit(void)
{
	pk_close(&kit);
	close(vcpus_end);
}

void leave(uint32_t vcpu, uint64_t gpa)
{
	const struct pf_vmm_fault fault = {.vcpu = vcpu, .gpa = gpa};
	uint8_t bytes[PF_VMM_FAULT_BYTES];
	size_t length = pf_vmm_fault_pack(PF_VMM_FAULT, &fault, bytes);

	assert_int_equal(send(vcpus_end, bytes, length, MSG_NOSIGNAL), length);
}

void leave_for(uint32_t vcpu, uint64_t page)
{
	leave(vcpu, GPA + page * PAGE);
}

struct pf_vmm_fault next_answer(void)
{
	uint8_t bytes[PF_VMM_FAULT_BYTES];
	struct pf_vmm_fault fault;
	struct pf_err err = {0};
	ssize_t length;

	wait_readable(vcpus_end);
	length = recv(vcpus_end, bytes, sizeof(bytes), MSG_DONTWAIT);
	assert_true(length > 0);
	if (pf_vmm_fault_unpack(bytes, (size_t)length, PF_VMM_RESOLVED, &fault, &err))
		fail_msg("%s", err.text);
	return fault;
}

/* Of a lost page the bit stays, and who is not told so would read zeros. */
static void is_told(uint32_t vcpu, uint64_t page, bool lost)
{
	struct pf_vmm_fault fault = next_answer();

	assert_int_equal(fault.vcpu, vcpu);
	assert_int_equal(fault.gpa, GPA + page * PAGE);
	assert_int_equal(fault.lost, lost);
	assert_int_equal(atomic_load(&traps[page]), lost);
}

void enters(uint32_t vcpu, uint64_t page)
{
	is_told(vcpu, page, false);
}

void is_told_lost(uint32_t vcpu, uint64_t page)
{
	is_told(vcpu, page, true);
}

bool nobody_enters(void)
{
	struct pollfd poller = {.fd = vcpus_end, .events = POLLIN};

	return poll(&poller, 1, 0) == 0;
}

bool slots_are_empty(void)
{
	uint32_t vcpu = 0;
	uint64_t gpa;

	return !pf_slots_next(&kit.guest.slots, &vcpu, &gpa);
}
