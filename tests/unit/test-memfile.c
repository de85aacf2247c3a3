/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-memfile.c - a descriptor whose file somebody else serves: nobody is asked, who need not answer. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "memory/memfile.h"

enum { REFUSED, NO_FUSE, NOT_OPENED, TAKEN, OTHERWISE, ASKED };

/*
 * Whatever is asked of the file system once its directory is open.  It is answered: a process that waits
 * for an answer which never comes cannot even be killed (fs/fuse/dev.c, request_wait_answer()).
 */
static _Atomic bool opened, asked_since;

struct fuse_reply {
	struct fuse_out_header head;
	union {
		struct fuse_init_out init;
		struct fuse_open_out open;
		struct fuse_attr_out attr;
	};
};

static void answer(int fuse, const struct fuse_in_header *asked)
{
	struct fuse_reply reply = {.head = {.unique = asked->unique}};
	size_t length = sizeof(reply.head);

	if (asked->opcode == FUSE_INIT) {
		reply.init.major = FUSE_KERNEL_VERSION;
		reply.init.minor = FUSE_KERNEL_MINOR_VERSION;
		reply.init.max_write = 4096;
		length += sizeof(reply.init);
	} else if (asked->opcode == FUSE_GETATTR) {
		reply.attr.attr = (struct fuse_attr){.ino = 1, .mode = S_IFDIR | 0755, .nlink = 2};
		length += sizeof(reply.attr);
	} else if (asked->opcode == FUSE_OPENDIR) {
		length += sizeof(reply.open);
	} else {
		reply.head.error = -EIO;
	}
	if (atomic_load(&opened) && asked->opcode != FUSE_FORGET && asked->opcode != FUSE_RELEASEDIR)
		atomic_store(&asked_since, true);
	reply.head.len = (uint32_t)length;
	(void)!write(fuse, &reply, length);
}

static void *serve(void *opaque)
{
	static _Alignas(struct fuse_in_header) uint8_t request[FUSE_MIN_READ_BUFFER * 2];
	int fuse = *(int *)opaque;

	while (read(fuse, request, sizeof(request)) > 0)
		answer(fuse, (const struct fuse_in_header *)request);
	return NULL;
}

static int open_served(int *fuse)
{
	char folder[] = "/tmp/pageferry-fuse-XXXXXX", options[96];
	pthread_t server;
	int fd;

	*fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (*fuse < 0 || unshare(CLONE_NEWNS) || !mkdtemp(folder) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		_exit(NO_FUSE);
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", *fuse);
	if (mount("pageferry-test", folder, "fuse", 0, options)) {
		rmdir(folder);
		_exit(NO_FUSE);
	}
	pthread_create(&server, NULL, serve, fuse);
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	umount2(folder, MNT_DETACH);
	rmdir(folder);
	atomic_store(&opened, true);
	return fd;
}

static int check_served(void)
{
	const struct pf_region_shape shape = {.size = 1 << 20, .page_size = 4096};
	struct pf_err err = {0};
	int fuse, fd = open_served(&fuse);

	if (fd < 0)
		return NOT_OPENED;
	if (pf_memfile_check(fd, PF_MEMORY_MEMFD, 0, &shape, true, &err) == 0)
		return TAKEN;
	if (atomic_load(&asked_since))
		return ASKED;
	return strstr(err.text, "no file of tmpfs or hugetlbfs") ? REFUSED : OTHERWISE;
}

/* A process of its own, since it changes its mount namespace. */
static void a_file_that_somebody_serves_is_refused_and_he_is_not_asked(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	if (pid == 0)
		_exit(check_served());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == NO_FUSE) {
		fprintf(stderr, "skip a file that somebody serves: no FUSE, or no right to mount it\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), REFUSED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_that_somebody_serves_is_refused_and_he_is_not_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
