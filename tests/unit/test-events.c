/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-events.c - numbers, what survives, the file's length, and sinks that fail. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "migrate/events.h"
#include "tests/unit/scratch.h"

static struct pf_statedir dir;
static char dir_path[128];

static int open_dir(void **state)
{
	struct pf_err err;

	if (scratch_make(state))
		return -1;
	return pf_statedir_open(&dir, scratch_path(dir_path, "state"), PF_SOURCE, "vm-1", &err);
}

static int close_dir(void **state)
{
	pf_statedir_close(&dir);
	return scratch_remove(state);
}

static struct pf_events *open_events(const char *sink)
{
	struct pf_events *events = NULL;
	struct pf_err err = {0};

	if (pf_events_open(&dir, sink, &events, &err))
		fail_msg("%s", err.text);
	return events;
}

static void emit(struct pf_events *events, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		pf_events_emit(events, "STATE", json_pack("{s:s}", "state", "active"));
}

static void append_raw(const char *text)
{
	int fd = openat(dir.fd, "events", O_WRONLY | O_APPEND | O_CREAT, 0600);

	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(close(fd), 0);
}

static unsigned file_lines(void)
{
	pf_auto_fd int fd = openat(dir.fd, "events", O_RDONLY);
	unsigned lines = 0;
	char byte[4096];
	ssize_t got;

	while ((got = read(fd, byte, sizeof(byte))) > 0)
		for (ssize_t i = 0; i < got; i++)
			lines += byte[i] == '\n';
	return lines;
}

/* Sequence numbers first..last, nothing else. */
static void expect_range(const struct pf_events *events, uint64_t since, json_int_t first,
			 json_int_t last)
{
	json_t *array = pf_events_since(events, since), *event;
	size_t i;

	assert_int_equal(json_array_size(array), last - first + 1);
	json_array_foreach(array, i, event) assert_int_equal(
		json_integer_value(json_object_get(event, "seq")), first + (json_int_t)i);
	json_decref(array);
}

static void remember(void *opaque, const char *line)
{
	snprintf(opaque, 512, "%s", line);
}

static void an_event_has_the_contracts_members(void **state)
{
	struct pf_events *events = open_events(NULL);
	char line[512] = "";
	json_t *event, *stamp;

	(void)state;
	pf_events_listen(events, remember, line);
	pf_events_emit(events, "LISTENING", json_pack("{s:s}", "address", "127.0.0.1:1"));
	assert_int_equal(line[strlen(line) - 1], '\n');
	event = json_loads(line, 0, NULL);
	stamp = json_object_get(event, "timestamp");
	assert_int_equal(json_object_size(event), 4);
	assert_string_equal(json_string_value(json_object_get(event, "event")), "LISTENING");
	assert_int_equal(json_integer_value(json_object_get(event, "seq")), 1);
	assert_true(json_integer_value(json_object_get(stamp, "seconds")) > 1000000000);
	assert_true(json_integer_value(json_object_get(stamp, "microseconds")) < 1000000);
	assert_string_equal(
		json_string_value(json_object_get(json_object_get(event, "data"), "address")),
		"127.0.0.1:1");
	json_decref(event);
	pf_events_emit(events, "NEED_PAUSE", NULL);
	assert_non_null(strstr(line, "\"data\":{}"));
	pf_events_close(events);
}

static void numbers_go_on_in_the_next_process(void **state)
{
	struct pf_events *events = open_events(NULL);

	(void)state;
	emit(events, 3);
	pf_events_close(events);
	events = open_events(NULL);
	expect_range(events, 0, 1, 3);
	emit(events, 1);
	expect_range(events, 2, 3, 4);
	expect_range(events, 4, 5, 4);
	pf_events_close(events);
}

static void the_last_thousand_are_kept_and_the_file_stays_short(void **state)
{
	struct pf_events *events = open_events(NULL);

	(void)state;
	emit(events, 2000);
	assert_int_equal(file_lines(), 2000);
	emit(events, 1);
	assert_int_equal(file_lines(), PF_EVENTS_KEPT);
	emit(events, 500);
	assert_int_equal(file_lines(), PF_EVENTS_KEPT + 500);
	expect_range(events, 0, 1502, 2501);
	pf_events_close(events);
	events = open_events(NULL);
	expect_range(events, 0, 1502, 2501);
	emit(events, 1);
	expect_range(events, 2501, 2502, 2502);
	pf_events_close(events);
}

static void a_line_cut_short_by_a_crash_is_dropped(void **state)
{
	struct pf_events *events = open_events(NULL);

	(void)state;
	emit(events, 2);
	pf_events_close(events);
	append_raw("{\"event\":\"STATE\",\"seq\":3,\"times");
	events = open_events(NULL);
	expect_range(events, 0, 1, 2);
	emit(events, 1);
	pf_events_close(events);
	events = open_events(NULL);
	expect_range(events, 0, 1, 3);
	assert_int_equal(file_lines(), 3);
	pf_events_close(events);
}

static void unreadable_lines_cost_themselves_only(void **state)
{
	struct pf_events *events = open_events(NULL);

	(void)state;
	emit(events, 1);
	append_raw("\n[]\nnull\n\xff\xfe\n{\"seq\":9}\n{\"event\":\"A\",\"seq\":-1}\n"
		   "{\"event\":\"A\",\"seq\":1}\n{\"event\":1,\"seq\":5}\n");
	emit(events, 1);
	pf_events_close(events);
	events = open_events(NULL);
	expect_range(events, 0, 1, 2);
	assert_int_equal(file_lines(), 2);
	pf_events_close(events);
}

static void a_sink_gets_each_event_as_a_line(void **state)
{
	struct pf_events *events;
	char sink[128], seen[512] = "";
	int fd;

	(void)state;
	events = open_events(scratch_path(sink, "sink"));
	emit(events, 2);
	pf_events_close(events);
	fd = open(sink, O_RDONLY);
	assert_true(read(fd, seen, sizeof(seen) - 1) > 0);
	close(fd);
	assert_non_null(strstr(seen, "\"seq\":1,"));
	assert_non_null(strstr(seen, "}\n{\"event\":\"STATE\",\"seq\":2,"));
}

/* The migration must never wait for who reads the sink. */
static void a_full_pipe_is_dropped_and_not_waited_for(void **state)
{
	struct pf_events *events;
	char sink[32];
	int pipes[2];

	(void)state;
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	snprintf(sink, sizeof(sink), "fd:%d", pipes[1]);
	events = open_events(sink);
	close(pipes[1]);
	emit(events, 1500); /* over 64 KiB: blocks for ever if the sink can block */
	expect_range(events, 1499, 1500, 1500);
	pf_events_close(events);
	close(pipes[0]);
}

static void a_closed_sink_costs_no_event(void **state)
{
	struct pf_events *events;
	char sink[32];
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	snprintf(sink, sizeof(sink), "fd:%d", pair[1]);
	events = open_events(sink);
	close(pair[0]);
	emit(events, 3);
	expect_range(events, 0, 1, 3);
	pf_events_close(events);
	close(pair[1]);
}

static void a_sink_that_cannot_be_written_is_a_configuration_error(void **state)
{
	struct pf_events *events;
	struct pf_err err = {0};
	char fifo[128];

	(void)state;
	assert_int_equal(pf_events_open(&dir, "fd:999", &events, &err), -1);
	assert_int_equal(err.class, PF_ERR_CONFIG);
	assert_int_equal(pf_events_open(&dir, dir_path, &events, &err), -1);
	assert_int_equal(err.class, PF_ERR_CONFIG);
	assert_int_equal(mkfifo(scratch_path(fifo, "fifo"), 0600), 0);
	assert_int_equal(pf_events_open(&dir, fifo, &events, &err), -1);
	assert_int_equal(err.class, PF_ERR_CONFIG);
	assert_int_equal(err.sys, ENXIO);
}

static void the_log_is_made_whole_again_after_a_failure(void **state)
{
	struct pf_events *events = open_events(NULL);

	(void)state;
	emit(events, PF_EVENTS_KEPT * 2);
	/* In the way of the next rewriting, which event 2001 asks for. */
	assert_int_equal(mkdirat(dir.fd, ".events.new", 0700), 0);
	emit(events, 5);
	expect_range(events, 2000, 2001, 2005);
	assert_int_equal(unlinkat(dir.fd, ".events.new", AT_REMOVEDIR), 0);
	emit(events, 1);
	pf_events_close(events);
	events = open_events(NULL);
	expect_range(events, 0, 1007, 2006);
	pf_events_close(events);
}

static void count_lines(void *opaque, const char *line)
{
	(void)line;
	++*(unsigned *)opaque;
}

static void what_is_held_is_told_in_its_turn_when_the_last_one_lets_go(void **state)
{
	struct pf_events *events = open_events(NULL);
	unsigned told = 0;

	(void)state;
	pf_events_listen(events, count_lines, &told);
	emit(events, 1);
	pf_events_hold(events);
	emit(events, 2);
	pf_events_hold(events);
	emit(events, 1);
	pf_events_let_go(events);
	assert_int_equal(told, 1);
	assert_int_equal(file_lines(), 1);
	expect_range(events, 0, 1, 4);
	pf_events_let_go(events);
	assert_int_equal(told, 4);
	assert_int_equal(file_lines(), 4);
	pf_events_close(events);
	events = open_events(NULL);
	expect_range(events, 0, 1, 4);
	pf_events_close(events);
}

/* The file is replaced by all that is kept, what is about to be told with it: each is there once. */
static void what_is_held_while_the_file_is_replaced_is_in_it_once(void **state)
{
	struct pf_events *events = open_events(NULL);

	(void)state;
	emit(events, 2 * PF_EVENTS_KEPT - 1);
	pf_events_hold(events);
	emit(events, 5);
	pf_events_let_go(events);
	assert_int_equal(file_lines(), PF_EVENTS_KEPT);
	pf_events_close(events);
	events = open_events(NULL);
	expect_range(events, 0, PF_EVENTS_KEPT + 5, 2 * PF_EVENTS_KEPT + 4);
	pf_events_close(events);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_dir, close_dir)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_event_has_the_contracts_members),
		TEST(what_is_held_is_told_in_its_turn_when_the_last_one_lets_go),
		TEST(what_is_held_while_the_file_is_replaced_is_in_it_once),
		TEST(numbers_go_on_in_the_next_process),
		TEST(the_last_thousand_are_kept_and_the_file_stays_short),
		TEST(a_line_cut_short_by_a_crash_is_dropped),
		TEST(unreadable_lines_cost_themselves_only),
		TEST(a_sink_gets_each_event_as_a_line),
		TEST(a_full_pipe_is_dropped_and_not_waited_for),
		TEST(a_closed_sink_costs_no_event),
		TEST(a_sink_that_cannot_be_written_is_a_configuration_error),
		TEST(the_log_is_made_whole_again_after_a_failure),
	};

	/* As the program does: a sink that closes is an error of write(2). */
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
