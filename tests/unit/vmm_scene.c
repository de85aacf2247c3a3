/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/vmm_scene.c - see tests/unit/vmm_scene.h. */
#include "tests/unit/vmm_scene.h"

#include <dirent.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

static int open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static void note(struct scene *scene, const char *what)
{
	size_t used = strlen(scene->told);

	snprintf(scene->told + used, sizeof(scene->told) - used, "%s ", what);
}

void assert_told(struct scene *scene, const char *what)
{
	assert_string_equal(scene->told, what);
	scene->told[0] = '\0';
}

#define ONLY_NOTES(call)                                                                           \
	static void on_##call(void *opaque)                                                        \
	{                                                                                          \
		note(opaque, #call);                                                               \
	}
ONLY_NOTES(regions_accepted)
ONLY_NOTES(continue_source)
ONLY_NOTES(release)
ONLY_NOTES(complete)

static void on_resolved(void *opaque, uint32_t vcpu, uint64_t gpa)
{
	char text[48];

	snprintf(text, sizeof(text), "resolved %u at 0x%llx", vcpu, (unsigned long long)gpa);
	note(opaque, text);
}

static void on_lost(void *opaque, uint32_t vcpu, uint64_t gpa)
{
	char text[48];

	snprintf(text, sizeof(text), "lost %u at 0x%llx", vcpu, (unsigned long long)gpa);
	note(opaque, text);
}

static void on_pause(void *opaque)
{
	struct scene *scene = opaque;

	note(scene, "pause");
	if (scene->answer)
		assert_int_equal(pageferry_vmm_paused(scene->vmm, "device state", 12), 0);
}

static void on_load(void *opaque, int state_fd, size_t size)
{
	struct scene *scene = opaque;

	note(scene, "load");
	scene->state_fd = state_fd;
	scene->state_size = size;
	if (scene->answer)
		assert_int_equal(pageferry_vmm_ready(scene->vmm), 0);
}

static void on_resume(void *opaque)
{
	struct scene *scene = opaque;

	note(scene, "resume");
	if (scene->answer)
		assert_int_equal(pageferry_vmm_resumed(scene->vmm), 0);
}

static void on_error(void *opaque, const char *reason)
{
	note(opaque, "error:");
	note(opaque, reason);
}

const struct pageferry_vmm_ops scene_ops = {
	.regions_accepted = on_regions_accepted,
	.pause = on_pause,
	.continue_source = on_continue_source,
	.release = on_release,
	.load = on_load,
	.resume = on_resume,
	.complete = on_complete,
	.error = on_error,
	.resolved = on_resolved,
	.lost = on_lost,
};

int set_up(void **state)
{
	struct scene *scene = calloc(1, sizeof(*scene));
	struct pf_err err;

	assert_non_null(scene);
	*scene = (struct scene){.dir = "/tmp/pf-vmm-lib-XXXXXX", .agent = -1, .state_fd = -1};
	scene->fds_before = open_fds();
	assert_non_null(mkdtemp(scene->dir));
	snprintf(scene->path, sizeof(scene->path), "%s/vmm", scene->dir);
	scene->listen_fd = pf_unix_listen(scene->path, SOCK_SEQPACKET, &err);
	assert_true(scene->listen_fd >= 0);
	scene->answer = true;
	*state = scene;
	return 0;
}

static void close_heard(struct scene *scene)
{
	while (scene->fd_count > 0)
		close(scene->fds[--scene->fd_count]);
}

int tear_down(void **state)
{
	struct scene *scene = *state;

	pageferry_vmm_close(scene->vmm);
	close_heard(scene);
	pf_close_fd(&scene->agent);
	pf_close_fd(&scene->listen_fd);
	pf_close_fd(&scene->state_fd);
	assert_int_equal(open_fds(), scene->fds_before);
	unlink(scene->path);
	rmdir(scene->dir);
	free(scene);
	return 0;
}

/* ---- the agent ---- */

void agent_says(struct scene *scene, const struct pf_vmm_message *msg, const int *fds,
		       size_t count)
{
	uint8_t bytes[PF_VMM_MESSAGE_MAX];
	struct pf_err err;

	assert_int_equal(pf_unix_send(scene->agent, bytes, pf_vmm_msg_pack(msg, bytes), fds, count,
				      &err), 0);
}

void agent_says_word(struct scene *scene, enum pf_vmm_type type)
{
	agent_says(scene, &(struct pf_vmm_message){.type = type}, NULL, 0);
}

void agent_says_load(struct scene *scene, size_t size, uint64_t announced)
{
	const struct pf_vmm_message msg = {.type = PF_VMM_LOAD, .state = {0, announced}};
	pf_auto_fd int fd = memfd_create("state", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	agent_says(scene, &msg, &fd, 1);
}

void agent_hears(struct scene *scene, enum pf_vmm_type type)
{
	uint8_t bytes[PF_VMM_MESSAGE_MAX];
	struct pf_err err = {0};
	ssize_t length;

	close_heard(scene);
	length = pf_unix_recv(scene->agent, bytes, sizeof(bytes), MSG_DONTWAIT, scene->fds,
			      &scene->fd_count, &err);
	assert_true(length > 0);
	if (pf_vmm_msg_unpack(bytes, (size_t)length, false, scene->fd_count, &scene->heard, &err))
		fail_msg("%s", err.text);
	assert_int_equal(scene->heard.type, type);
}

void agent_hears_nothing(struct scene *scene)
{
	char byte;

	assert_int_equal(recv(scene->agent, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

/* ---- the VMM ---- */

void connect_as(struct scene *scene, enum pageferry_role role)
{
	const uint32_t tids[] = {1001, 1002};
	char reason[256] = "";

	scene->vmm = pageferry_vmm_connect(scene->path, role, tids, 2, &scene_ops, scene, reason,
					   sizeof(reason));
	if (!scene->vmm)
		fail_msg("%s", reason);
	scene->agent = accept4(scene->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	assert_true(scene->agent >= 0);
}

void describe(struct scene *scene, bool destination)
{
	pf_auto_fd int memory = memfd_create("memory", MFD_CLOEXEC);
	pf_auto_fd int uffd = memfd_create("in place of a userfaultfd", MFD_CLOEXEC);
	const struct pageferry_region regions[] = {
		{.id = 2, .gpa = 4096 * MIB, .size = MIB, .page_size = 4096,
		 .kind = PAGEFERRY_MEMFD, .fd = memory, .offset = 16 * MIB,
		 .uffd = destination ? uffd : -1, .base = 0x7f0001000000, .discards = true},
		{.id = 1, .gpa = 0, .size = 16 * MIB, .page_size = 4096, .kind = PAGEFERRY_MEMFD,
		 .fd = memory, .uffd = destination ? uffd : -1, .base = 0x7f0000000000},
	};

	assert_true(memory >= 0 && uffd >= 0);
	assert_int_equal(pageferry_vmm_regions(scene->vmm, regions, 2), 0);
}

void dispatch(struct scene *scene, const char *told)
{
	assert_int_equal(pageferry_vmm_dispatch(scene->vmm), 0);
	assert_told(scene, told);
}

void assert_fails_with(struct scene *scene, int result, const char *text)
{
	assert_int_equal(result, -1);
	assert_string_equal(pageferry_vmm_error(scene->vmm), text);
}

void begin(struct scene *scene, enum pageferry_role role)
{
	connect_as(scene, role);
	agent_hears(scene, PF_VMM_HELLO);
	describe(scene, role == PAGEFERRY_DESTINATION);
	agent_hears(scene, PF_VMM_REGIONS);
}

void send_nothing(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sendto, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOBUFS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = PF_ARRAY_LEN(filter), .filter = filter};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		abort();
}
