/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/test-bitmap-fuse.c - a userfault bitmap whose file is served by a process: looked at and refused
 * before that process is asked anything, since it may be the VMM, or hang.
 *
 * The file system is FUSE (Documentation/filesystems/fuse/fuse.rst), and its server the test: it answers until
 * the file is open, and nothing afterwards.  In a mount namespace of its own; as root; any kernel with
 * guest_memfd and FUSE.  Who waits for the server is ended by alarm(2).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "gmem_bench.h"
#include "migrate/vmm_match.h"

#define PATIENCE_S 30

static const char *mountpoint = "/tmp/pf-bitmap-on-fuse";

static void answer(int fuse, uint64_t unique, const void *body, uint32_t length)
{
	uint8_t bytes[sizeof(struct fuse_out_header) + sizeof(struct fuse_init_out)];
	struct fuse_out_header header = {.len = sizeof(header) + length, .unique = unique};

	memcpy(bytes, &header, sizeof(header));
	memcpy(bytes + sizeof(header), body, length);
	assert_int_equal(write(fuse, bytes, header.len), header.len);
}

/* Until the file is open. */
static void *serve(void *opaque)
{
	static const struct fuse_init_out init = {
		.major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION, .max_write = 4096};
	static const struct fuse_open_out opened;
	static uint8_t request[FUSE_MIN_READ_BUFFER + 4096];
	const struct fuse_in_header *header = (const void *)request;
	int fuse = *(int *)opaque;

	for (;;) {
		ssize_t length = read(fuse, request, sizeof(request));

		if (length < 0 && errno == EINTR)
			continue;
		assert_true(length >= (ssize_t)sizeof(*header));
		if (header->opcode == FUSE_INIT)
			answer(fuse, header->unique, &init, sizeof(init));
		if (header->opcode != FUSE_OPEN)
			continue;
		answer(fuse, header->unique, &opened, sizeof(opened));
		return NULL;
	}
}

static int open_served(int fuse)
{
	pthread_t server;
	char options[96];
	int fd;

	assert_int_equal(unshare(CLONE_NEWNS), 0);
	assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	close(open(mountpoint, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	snprintf(options, sizeof(options), "fd=%d,rootmode=100600,user_id=0,group_id=0", fuse);
	assert_int_equal(mount("test", mountpoint, "fuse", 0, options), 0);
	assert_int_equal(pthread_create(&server, NULL, serve, &fuse), 0);
	fd = open(mountpoint, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	pthread_join(server, NULL);
	return fd;
}

static void a_bitmap_on_fuse_is_refused_and_nobody_waits(void **state)
{
	struct gmem_bench gmem;
	int fuse, fd;

	(void)state;
	gmem_open(&gmem, 0, 1);
	fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC); /* the VMM's process has none: its end is FUSE's */
	assert_true(fuse >= 0);
	fd = open_served(fuse);
	assert_true(dup3(fd, gmem.bench.guest.region[REGION].bitmap_fd, O_CLOEXEC) >= 0);
	alarm(PATIENCE_S);
	gmem_assert_refused(&gmem, PF_ERR_PROTOCOL,
			    "its userfault bitmap is not a memfd that can be written");
	alarm(0);
	close(fuse); /* and who would close the file now waits for nobody either */
	close(fd);
	gmem_close(&gmem);
	umount2(mountpoint, MNT_DETACH);
	unlink(mountpoint);
}

/* Before anything of it is judged: a VMM that comes again is known by its files. */
static void which_file_it_is_is_known_and_nobody_waits(void **state)
{
	int fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC), fd;
	struct pf_file_id id;
	struct pf_err err;

	(void)state;
	assert_true(fuse >= 0);
	fd = open_served(fuse);
	alarm(PATIENCE_S);
	assert_int_equal(pf_file_identify(fd, &id, &err), 0);
	alarm(0);
	assert_true(id.dev != 0 && id.ino != 0);
	close(fuse);
	close(fd);
	umount2(mountpoint, MNT_DETACH);
	unlink(mountpoint);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(which_file_it_is_is_known_and_nobody_waits),
		cmocka_unit_test(a_bitmap_on_fuse_is_refused_and_nobody_waits),
	};

	if (uffd_refused())
		return 77;
	if (!gmem_is_plain() && gmem_refused())
		return 77;
	if (geteuid() != 0) {
		fprintf(stderr, "skip all: mounting takes root\n");
		return 77;
	}
	if (access("/dev/fuse", R_OK | W_OK) != 0) {
		fprintf(stderr, "skip all: /dev/fuse: %s\n", strerror(errno));
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
