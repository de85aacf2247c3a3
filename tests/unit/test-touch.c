/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-touch.c - a touch of memory that its owner takes away is an error, and nothing else changes.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "memory/touch.h"

#define PAGE 4096u
#define PAGES 512u
#define BYTES ((size_t)PAGES * PAGE)

struct file {
	int fd;
	uint8_t *map;
};

static struct file file_make(uint8_t byte)
{
	struct file file = {.fd = memfd_create("foreign", MFD_CLOEXEC)};

	assert_true(file.fd >= 0);
	assert_int_equal(ftruncate(file.fd, (off_t)BYTES), 0);
	file.map = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd, 0);
	assert_true(file.map != MAP_FAILED);
	memset(file.map, byte, BYTES);
	return file;
}

static void file_done(struct file *file)
{
	munmap(file->map, BYTES);
	close(file->fd);
}

/* In each test: cmocka puts a handler of its own before every one. */
static void guard_on(void)
{
	pf_touch_init();
	pf_touch_init();
}

static void copies_go_both_ways(void **state)
{
	struct file file = file_make(7);
	uint8_t bytes[64];
	bool same;

	(void)state;
	guard_on();
	assert_int_equal(pf_touch_read(bytes, file.map + 100, sizeof(bytes)), 0);
	for (size_t i = 0; i < sizeof(bytes); i++)
		assert_int_equal(bytes[i], 7);
	memset(bytes, 9, sizeof(bytes));
	assert_int_equal(pf_touch_write(file.map + 100, bytes, sizeof(bytes)), 0);
	assert_int_equal(file.map[99], 7);
	assert_memory_equal(file.map + 100, bytes, sizeof(bytes));
	assert_int_equal(pf_touch_compare(file.map + 100, bytes, sizeof(bytes), &same), 0);
	assert_true(same);
	assert_int_equal(pf_touch_compare(file.map + 101, bytes, sizeof(bytes), &same), 0);
	assert_false(same);
	assert_int_equal(pf_touch_zero(file.map + 100, sizeof(bytes)), 0);
	assert_int_equal(file.map[100], 0);
	assert_int_equal(file.map[163], 0);
	assert_int_equal(file.map[164], 7);
	file_done(&file);
}

static void a_shrunk_file_is_an_error_in_every_direction(void **state)
{
	struct file file = file_make(7);
	uint8_t bytes[PAGE] = {0};
	bool same;

	(void)state;
	guard_on();
	assert_int_equal(ftruncate(file.fd, PAGE), 0);
	for (unsigned i = 0; i < 3; i++) { /* and again: the handler stays what it is */
		errno = 0;
		assert_int_equal(pf_touch_read(bytes, file.map + 2 * PAGE, PAGE), -1);
		assert_int_equal(errno, EIO);
		errno = 0;
		assert_int_equal(pf_touch_write(file.map + 2 * PAGE, bytes, PAGE), -1);
		assert_int_equal(errno, EIO);
		errno = 0;
		assert_int_equal(pf_touch_zero(file.map, 2 * PAGE), -1);
		assert_int_equal(errno, EIO);
		errno = 0;
		assert_int_equal(pf_touch_compare(file.map + 2 * PAGE, bytes, PAGE, &same), -1);
		assert_int_equal(errno, EIO);
	}
	/* What is still there is there, and comes back whole when the file grows again. */
	assert_int_equal(pf_touch_read(bytes, file.map, PAGE), 0);
	assert_int_equal(ftruncate(file.fd, (off_t)BYTES), 0);
	assert_int_equal(pf_touch_write(file.map + 2 * PAGE, bytes, PAGE), 0);
	file_done(&file);
}

struct copier {
	struct file file;
	bool writes;
	uint8_t *own;
	atomic_uint rounds;
	atomic_bool stop;
	int failed; /* errno of the copy that failed */
	pthread_t thread;
};

static void *copy_on(void *opaque)
{
	struct copier *copier = opaque;

	while (!atomic_load(&copier->stop)) {
		int failed = copier->writes ? pf_touch_write(copier->file.map, copier->own, BYTES)
					    : pf_touch_read(copier->own, copier->file.map, BYTES);

		atomic_fetch_add(&copier->rounds, 1);
		if (failed) {
			copier->failed = errno;
			break;
		}
	}
	return NULL;
}

static void copier_start(struct copier *copier, bool writes)
{
	*copier = (struct copier){.file = file_make(1), .writes = writes, .own = calloc(1, BYTES)};
	assert_non_null(copier->own);
	assert_int_equal(pthread_create(&copier->thread, NULL, copy_on, copier), 0);
	while (atomic_load(&copier->rounds) == 0)
		sched_yield();
}

static void copier_end(struct copier *copier)
{
	assert_int_equal(pthread_join(copier->thread, NULL), 0);
	file_done(&copier->file);
	free(copier->own);
}

/* The file goes while copies of it run; a thread with another file notices nothing. */
static void a_file_may_shrink_under_a_running_copy(void **state)
{
	struct copier innocent, copier;

	(void)state;
	guard_on();
	copier_start(&innocent, false);
	for (unsigned i = 0; i < 40; i++) {
		copier_start(&copier, i % 2);
		/* Anywhere in it: the copy is in the middle of one of its pages. */
		assert_int_equal(ftruncate(copier.file.fd, (off_t)(i * 12 * PAGE)), 0);
		copier_end(&copier);
		assert_int_equal(copier.failed, EIO);
	}
	atomic_store(&innocent.stop, true);
	copier_end(&innocent);
	assert_int_equal(innocent.failed, 0);
}

/* A touch without the guard ends the process as ever, also beside a guarded copy. */
static void another_sigbus_is_not_swallowed(void **state)
{
	struct file file = file_make(1), other = file_make(1);
	struct rlimit no_core = {0, 0};

	(void)state;
	guard_on();
	assert_int_equal(ftruncate(file.fd, 0), 0);
	for (unsigned way = 0; way < 3; way++) {
		pid_t pid = fork();
		int status;

		assert_true(pid >= 0);
		if (pid == 0) {
			setrlimit(RLIMIT_CORE, &no_core);
			close(STDERR_FILENO);	 /* a sanitizer's report of it */
			signal(SIGBUS, SIG_DFL); /* cmocka's handler would go on with the tests */
			guard_on();
			if (way == 0)
				*(volatile uint8_t *)file.map = 1;
			else if (way == 1) /* the side that is said to be ours */
				(void)!pf_touch_read(file.map, other.map, PAGE);
			else
				raise(SIGBUS);
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
	}
	file_done(&file);
	file_done(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(copies_go_both_ways),
		cmocka_unit_test(a_shrunk_file_is_an_error_in_every_direction),
		cmocka_unit_test(a_file_may_shrink_under_a_running_copy),
		cmocka_unit_test(another_sigbus_is_not_swallowed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
