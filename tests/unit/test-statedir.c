/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-statedir.c - what is kept, whose it is, and what a damaged directory leads to. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "migrate/statedir.h"
#include "tests/unit/scratch.h"

static char dir_path[128];

static void open_dir(struct pf_statedir *dir)
{
	struct pf_err err = {0};

	if (pf_statedir_open(dir, scratch_path(dir_path, "state"), PF_SOURCE, "vm-1", &err))
		fail_msg("%s", err.text);
}

static void put_file(const char *name, const char *text)
{
	char path[128], below[64];
	FILE *file;

	snprintf(below, sizeof(below), "state/%s", name);
	file = fopen(scratch_path(path, below), "w");
	assert_non_null(file);
	assert_int_equal(fputs(text, file) < 0, 0);
	assert_int_equal(fclose(file), 0);
}

static void the_directory_is_made_private(void **state)
{
	struct pf_statedir dir;
	struct stat st;

	(void)state;
	open_dir(&dir);
	assert_int_equal(stat(dir_path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	pf_statedir_close(&dir);
	assert_int_equal(dir.fd, -1);
}

static void a_second_process_is_kept_out_until_the_first_is_gone(void **state)
{
	struct pf_statedir dir, second;
	struct pf_err err = {0};

	(void)state;
	open_dir(&dir);
	assert_int_equal(pf_statedir_open(&second, dir_path, PF_SOURCE, "vm-1", &err), -1);
	assert_int_equal(err.class, PF_ERR_CONFIG);
	assert_non_null(strstr(err.text, "in use by another process"));
	assert_int_equal(second.fd, -1);
	pf_statedir_close(&dir);
	open_dir(&dir);
	pf_statedir_close(&dir);
}

static void a_directory_belongs_to_one_side_of_one_migration(void **state)
{
	struct pf_statedir dir;
	struct pf_err err = {0};

	(void)state;
	open_dir(&dir);
	pf_statedir_close(&dir);
	assert_int_equal(pf_statedir_open(&dir, dir_path, PF_DESTINATION, "vm-1", &err), -1);
	assert_int_equal(err.class, PF_ERR_CONFIG);
	assert_non_null(strstr(err.text, "'source vm-1'"));
	assert_int_equal(pf_statedir_open(&dir, dir_path, PF_SOURCE, "vm-2", &err), -1);
	assert_int_equal(err.class, PF_ERR_CONFIG);
	open_dir(&dir);
	pf_statedir_close(&dir);
}

static void what_cannot_be_a_state_directory_is_refused(void **state)
{
	struct pf_statedir dir;
	struct pf_err err = {0};
	char path[400];

	(void)state;
	assert_int_equal(mkdir(scratch_path(path, "shared"), 0700), 0);
	assert_int_equal(chmod(path, 0770), 0);
	assert_int_equal(pf_statedir_open(&dir, path, PF_SOURCE, "vm-1", &err), -1);
	assert_int_equal(err.class, PF_ERR_CONFIG);
	assert_non_null(strstr(err.text, "mode 0770"));
	assert_int_equal(close(creat(scratch_path(path, "file"), 0600)), 0);
	assert_int_equal(pf_statedir_open(&dir, path, PF_SOURCE, "vm-1", &err), -1);
	assert_int_equal(err.class, PF_ERR_CONFIG);
	scratch_path(path, "no/such");
	assert_int_equal(pf_statedir_open(&dir, path, PF_SOURCE, "vm-1", &err), -1);
	assert_int_equal(err.class, PF_ERR_CONFIG);
	snprintf(path, sizeof(path), "/%0300d", 0);
	assert_int_equal(pf_statedir_open(&dir, path, PF_SOURCE, "vm-1", &err), -1);
	assert_int_equal(err.class, PF_ERR_CONFIG);
}

static void an_absent_record_is_none(void **state)
{
	enum pf_record record = PF_RECORD_RUN;
	struct pf_statedir dir;
	struct pf_err err = {0};
	uint32_t epoch = 7;

	(void)state;
	open_dir(&dir);
	assert_int_equal(pf_statedir_read_record(&dir, &record, &epoch, &err), 0);
	assert_int_equal(record, PF_RECORD_NONE);
	assert_int_equal(epoch, 0);
	pf_statedir_close(&dir);
}

static void every_record_is_read_back_by_the_next_process(void **state)
{
	struct pf_statedir dir;
	struct pf_err err = {0};

	(void)state;
	for (enum pf_record put = PF_RECORD_NONE; put < PF_RECORD_COUNT_; put++) {
		enum pf_record record;
		uint32_t epoch;
		int status;
		pid_t child;

		child = fork();
		if (child == 0) {
			if (pf_statedir_open(&dir, scratch_path(dir_path, "state"), PF_SOURCE,
					     "vm-1", &err) ||
			    pf_statedir_write_record(&dir, put, UINT32_MAX - put, &err))
				_exit(1);
			kill(getpid(), SIGKILL); /* nothing is put in order */
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFSIGNALED(status));
		open_dir(&dir);
		assert_int_equal(pf_statedir_read_record(&dir, &record, &epoch, &err), 0);
		assert_int_equal(record, put);
		assert_int_equal(epoch, UINT32_MAX - put);
		pf_statedir_close(&dir);
	}
}

static void a_damaged_record_is_an_error_never_none(void **state)
{
	static const char *const damaged[] = {"",	   "RUN",	"RUN 1",
					      "RUN\n",	   "RUN 1\n\n", "RUN 1\nRUN 2\n",
					      "RUN x\n",   "RUN 1 \n",	"RUN 4294967296\n",
					      "BOGUS 1\n", " 1\n",	"run 1\n",
					      "RUN -1\n",  "RUN  1\n",	"\n"};

	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(damaged); i++) {
		enum pf_record record = PF_RECORD_COUNT_;
		struct pf_statedir dir;
		struct pf_err err = {0};
		uint32_t epoch;

		open_dir(&dir);
		put_file("record", damaged[i]);
		if (pf_statedir_read_record(&dir, &record, &epoch, &err) != -1)
			fail_msg("taken: '%s'", damaged[i]);
		assert_int_equal(err.class, PF_ERR_CONFIG);
		assert_int_equal(record, PF_RECORD_COUNT_);
		pf_statedir_close(&dir);
	}
}

static void files_are_read_back_whole_or_refused(void **state)
{
	struct pf_statedir dir;
	struct pf_err err = {0};
	char back[8] = "";
	struct stat st;

	(void)state;
	open_dir(&dir);
	assert_int_equal(pf_statedir_read(&dir, "secret", back, 4, &err), 1);
	assert_int_equal(pf_statedir_write(&dir, "secret", "abcd", 4, &err), 0);
	assert_int_equal(fstatat(dir.fd, "secret", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(pf_statedir_read(&dir, "secret", back, 4, &err), 0);
	assert_memory_equal(back, "abcd", 4);
	assert_int_equal(pf_statedir_read(&dir, "secret", back, 5, &err), -1);
	assert_int_equal(err.class, PF_ERR_CONFIG);
	assert_int_equal(pf_statedir_read(&dir, "secret", back, 3, &err), -1);
	pf_statedir_close(&dir);
}

static void a_failed_replacement_leaves_the_old_file(void **state)
{
	struct pf_statedir dir;
	struct pf_err err = {0};
	char back[4];

	(void)state;
	open_dir(&dir);
	assert_int_equal(pf_statedir_write(&dir, "secret", "abcd", 4, &err), 0);
	/* A folder in the place of the new file: the only failure that root meets as well. */
	assert_int_equal(mkdirat(dir.fd, ".secret.new", 0700), 0);
	assert_int_equal(pf_statedir_write(&dir, "secret", "efgh", 4, &err), -1);
	assert_int_equal(err.class, PF_ERR_SYSTEM);
	assert_int_equal(pf_statedir_read(&dir, "secret", back, 4, &err), 0);
	assert_memory_equal(back, "abcd", 4);
	assert_int_equal(unlinkat(dir.fd, ".secret.new", AT_REMOVEDIR), 0);
	pf_statedir_close(&dir);
}

static void names_do_not_lead_out_of_the_directory(void **state)
{
	static const char *const names[] = {"", "../x", "/etc/x", ".x", "a/b"};
	struct pf_statedir dir;
	struct pf_err err = {0};

	(void)state;
	open_dir(&dir);
	for (size_t i = 0; i < PF_ARRAY_LEN(names); i++) {
		char byte;

		assert_int_equal(pf_statedir_write(&dir, names[i], "x", 1, &err), -1);
		assert_int_equal(pf_statedir_read(&dir, names[i], &byte, 1, &err), -1);
	}
	assert_int_equal(symlinkat("/etc/hostname", dir.fd, "link"), 0);
	assert_int_equal(pf_statedir_read(&dir, "link", (char[1]){0}, 1, &err), -1);
	pf_statedir_close(&dir);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_make, scratch_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_directory_is_made_private),
		TEST(a_second_process_is_kept_out_until_the_first_is_gone),
		TEST(a_directory_belongs_to_one_side_of_one_migration),
		TEST(what_cannot_be_a_state_directory_is_refused),
		TEST(an_absent_record_is_none),
		TEST(every_record_is_read_back_by_the_next_process),
		TEST(a_damaged_record_is_an_error_never_none),
		TEST(files_are_read_back_whole_or_refused),
		TEST(a_failed_replacement_leaves_the_old_file),
		TEST(names_do_not_lead_out_of_the_directory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
