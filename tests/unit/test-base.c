/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-base.c - errors, histogram, mailbox, sizes and record names. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/hist.h"
#include "base/mailbox.h"
#include "base/record.h"
#include "base/size.h"

static uint64_t next_random(uint64_t *state)
{
	/* splitmix64 */
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* PAGEFERRY_SEED repeats a run. */
static uint64_t seed(void)
{
	const char *given = getenv("PAGEFERRY_SEED");
	uint64_t chosen = given ? strtoull(given, NULL, 0) : pf_now_ns();

	fprintf(stderr, "PAGEFERRY_SEED=%llu\n", (unsigned long long)chosen);
	return chosen;
}

/* --- err --- */

static void an_error_keeps_class_errno_and_text(void **state)
{
	struct pf_err err = {0};

	(void)state;
	errno = ENOENT;
	assert_int_equal(pf_err_sys(&err, "opening %s", "x"), -1);
	assert_int_equal(err.class, PF_ERR_SYSTEM);
	assert_int_equal(err.sys, ENOENT);
	assert_string_equal(err.text, "opening x: No such file or directory");
	assert_int_equal(pf_err_prefix(&err, "setting up %d", 7), -1);
	assert_string_equal(err.text, "setting up 7: opening x: No such file or directory");
	assert_int_equal(err.sys, ENOENT);
	pf_err_hint(&err, "make %s", "x");
	assert_string_equal(err.hint, "make x");
	assert_int_equal(pf_err_set(&err, PF_ERR_CONFIG, "new"), -1);
	assert_string_equal(err.hint, "");
	assert_int_equal(err.sys, 0);
}

static void a_long_error_is_cut_and_terminated(void **state)
{
	struct pf_err err = {0};
	char text[2 * sizeof(err.text)];

	(void)state;
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	pf_err_set(&err, PF_ERR_USAGE, "%s", text);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
	errno = EPERM;
	pf_err_sys(&err, "%s", text);
	pf_err_prefix(&err, "%s", text);
	assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
}

static void a_hint_travels_whole_or_not_at_all(void **state)
{
	struct pf_err err = {0};
	char out[16];

	(void)state;
	pf_err_set(&err, PF_ERR_CONFIG, "no file");
	pf_err_print(&err, out, sizeof(out));
	assert_string_equal(out, "no file");
	pf_err_hint(&err, "make it");
	pf_err_print(&err, out, sizeof(out)); /* 15 characters and the NUL */
	assert_string_equal(out, "no file");
	pf_err_hint(&err, "get it");
	pf_err_print(&err, out, sizeof(out));
	assert_string_equal(out, "no file; get it");
	pf_err_set(&err, PF_ERR_CONFIG, "longer than the room for it");
	pf_err_print(&err, out, sizeof(out));
	assert_string_equal(out, "longer than the");
}

static void every_error_class_has_its_exit_code(void **state)
{
	static const struct {
		enum pf_err_class class;
		int code;
	} row[] = {
		{PF_ERR_NONE, 0},      {PF_ERR_USAGE, 64},  {PF_ERR_UNREACHABLE, 69},
		{PF_ERR_SYSTEM, 71},   {PF_ERR_CONFIG, 78}, {PF_ERR_PROTOCOL, 76},
		{PF_ERR_STATE, 1},
	};

	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(row); i++) {
		struct pf_err err = {.class = row[i].class};

		assert_int_equal(pf_err_exit_code(&err), row[i].code);
	}
}

/* --- hist --- */

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* The histogram may say up to 1/32 more than the exact quantile, and never less. */
static void check_quantiles(const struct pf_hist *hist, uint64_t *value, size_t count)
{
	static const unsigned permille[] = {1, 10, 250, 500, 900, 990, 999, 1000};

	qsort(value, count, sizeof(*value), compare_u64);
	for (size_t i = 0; i < PF_ARRAY_LEN(permille); i++) {
		size_t rank = (count * permille[i] + 999) / 1000;
		uint64_t exact = value[rank - 1];
		uint64_t said = pf_hist_quantile(hist, permille[i]);

		assert_true(said >= exact);
		assert_true(said - exact <= exact / 32);
	}
	assert_int_equal(pf_hist_quantile(hist, 1000), value[count - 1]);
}

static void quantiles_are_within_a_32nd_of_the_exact_ones(void **state)
{
	uint64_t random = seed();

	(void)state;
	for (unsigned round = 0; round < 200; round++) {
		pf_auto_free struct pf_hist *hist = calloc(1, sizeof(*hist));
		size_t count = 1 + next_random(&random) % 3000;
		pf_auto_free uint64_t *value = calloc(count, sizeof(*value));
		unsigned shift = (unsigned)(next_random(&random) % 64);
		uint64_t sum = 0;

		assert_non_null(hist);
		assert_non_null(value);
		for (size_t i = 0; i < count; i++) {
			/* Narrow rounds, wide rounds, and rounds over every power of two. */
			value[i] = next_random(&random) >> (round % 2 ? shift : i % 64);
			sum += value[i];
			pf_hist_record(hist, value[i]);
		}
		assert_int_equal(hist->count, count);
		assert_int_equal(hist->sum, sum);
		check_quantiles(hist, value, count);
	}
}

static void an_empty_histogram_says_zero(void **state)
{
	static struct pf_hist hist;

	(void)state;
	assert_int_equal(pf_hist_quantile(&hist, 500), 0);
	pf_hist_record(&hist, 0);
	assert_int_equal(pf_hist_quantile(&hist, 1000), 0);
	assert_int_equal(hist.count, 1);
}

static void the_largest_value_has_a_bucket(void **state)
{
	static struct pf_hist hist;

	(void)state;
	pf_hist_record(&hist, UINT64_MAX);
	assert_true(pf_hist_quantile(&hist, 500) == UINT64_MAX);
}

/* --- mailbox --- */

static bool readable(const struct pf_mailbox *box)
{
	struct pollfd fd = {.fd = box->event_fd, .events = POLLIN};

	return poll(&fd, 1, 0) == 1;
}

static void mail_comes_out_in_order_and_the_fd_follows(void **state)
{
	struct pf_mailbox box;
	struct pf_mail mail;
	struct pf_err err;

	(void)state;
	assert_int_equal(pf_mailbox_init(&box, &err), 0);
	assert_false(readable(&box));
	assert_false(pf_mailbox_take(&box, &mail));
	for (uint32_t i = 0; i < 3; i++) {
		struct pf_mail out = {.kind = i, .number = i * 2, .length = 1, .data = malloc(1)};

		assert_true(pf_mailbox_post(&box, &out));
	}
	for (uint32_t i = 0; i < 3; i++) {
		assert_true(readable(&box));
		assert_true(pf_mailbox_take(&box, &mail));
		assert_int_equal(mail.kind, i);
		assert_int_equal(mail.number, i * 2);
		free(mail.data);
	}
	assert_false(readable(&box));
	pf_mailbox_done(&box);
}

static void a_full_box_refuses_and_frees(void **state)
{
	struct pf_mailbox box;
	struct pf_mail mail;
	struct pf_err err;
	unsigned taken = 0;

	(void)state;
	assert_int_equal(pf_mailbox_init(&box, &err), 0);
	for (uint32_t i = 0; i < PF_MAILBOX_SLOTS; i++) {
		struct pf_mail out = {.kind = i, .data = malloc(8)};

		assert_true(pf_mailbox_post(&box, &out));
	}
	/* Its data is freed by the box: a leak or a double free shows under AddressSanitizer. */
	assert_false(pf_mailbox_post(&box, &(struct pf_mail){.kind = 9999, .data = malloc(8)}));
	assert_true(pf_mailbox_take(&box, &mail));
	assert_int_equal(mail.kind, 0);
	free(mail.data);
	assert_true(pf_mailbox_post(&box, &(struct pf_mail){.kind = 1000}));
	while (taken < PF_MAILBOX_SLOTS - 1 && pf_mailbox_take(&box, &mail)) {
		assert_int_equal(mail.kind, ++taken);
		free(mail.data);
	}
	assert_int_equal(taken, PF_MAILBOX_SLOTS - 1);
	assert_true(pf_mailbox_take(&box, &mail));
	assert_int_equal(mail.kind, 1000);
	/* What nobody took is freed with the box. */
	assert_true(pf_mailbox_post(&box, &(struct pf_mail){.data = malloc(8)}));
	pf_mailbox_done(&box);
}

static unsigned dropped; /* a bit for each kind */

static void note_drop(const struct pf_mail *mail)
{
	assert_non_null(mail->data); /* not freed yet */
	dropped |= 1u << mail->kind;
}

static void what_nobody_took_is_dropped_before_it_is_freed(void **state)
{
	struct pf_mailbox box;
	struct pf_mail mail;
	struct pf_err err;

	(void)state;
	assert_int_equal(pf_mailbox_init(&box, &err), 0);
	box.drop = note_drop;
	for (uint32_t i = 0; i < 3; i++)
		assert_true(pf_mailbox_post(&box, &(struct pf_mail){.kind = i, .data = malloc(8)}));
	assert_true(pf_mailbox_take(&box, &mail));
	free(mail.data);
	assert_int_equal(dropped, 0);
	pf_mailbox_done(&box);
	assert_int_equal(dropped, 1u << 1 | 1u << 2);
}

static void a_box_that_was_never_initialised_can_be_ended(void **state)
{
	struct pf_mailbox box = {0};

	(void)state;
	pf_mailbox_done(&box);
	assert_int_equal(box.event_fd, 0);
}

#define POSTERS 4u
#define MAILS_EACH 5000u

struct poster {
	struct pf_mailbox *box;
	uint32_t index;
	unsigned refused;
};

static void *post_many(void *opaque)
{
	struct poster *self = opaque;

	for (uint32_t i = 0; i < MAILS_EACH; i++) {
		uint32_t *data = malloc(sizeof(*data));
		struct pf_mail mail = {.kind = self->index, .number = i, .data = data};

		if (data)
			*data = i;
		self->refused += !pf_mailbox_post(self->box, &mail);
	}
	return NULL;
}

/* Takes until `expected` mails came or refusals make that impossible; waits only on the fd. */
static unsigned take_many(struct pf_mailbox *box, uint32_t last[POSTERS])
{
	struct pollfd fd = {.fd = box->event_fd, .events = POLLIN};
	struct pf_mail mail;
	unsigned taken = 0;

	while (poll(&fd, 1, 2000) == 1) {
		while (pf_mailbox_take(box, &mail)) {
			if (mail.kind == POSTERS) {
				free(mail.data);
				return taken;
			}
			assert_true(mail.kind < POSTERS);
			assert_int_equal(*(uint32_t *)mail.data, mail.number);
			/* Of one poster, in its order. */
			assert_true(last[mail.kind] == UINT32_MAX || mail.number > last[mail.kind]);
			last[mail.kind] = mail.number;
			free(mail.data);
			taken++;
		}
	}
	fail_msg("two seconds without mail: a wake-up was lost after %u", taken);
	return taken;
}

static void *join_and_say_end(void *opaque)
{
	struct poster *poster = opaque;
	pthread_t thread[POSTERS];

	for (unsigned i = 0; i < POSTERS; i++)
		pthread_create(&thread[i], NULL, post_many, &poster[i]);
	for (unsigned i = 0; i < POSTERS; i++)
		pthread_join(thread[i], NULL);
	/* The box may be full for as long as the taker needs to look again. */
	while (!pf_mailbox_post(poster[0].box, &(struct pf_mail){.kind = POSTERS}))
		sched_yield();
	return NULL;
}

static void threads_lose_no_mail_and_no_wake_up(void **state)
{
	static struct pf_mailbox box;
	struct poster poster[POSTERS];
	uint32_t last[POSTERS];
	unsigned taken, refused = 0;
	pthread_t starter;
	struct pf_err err;

	(void)state;
	assert_int_equal(pf_mailbox_init(&box, &err), 0);
	for (uint32_t i = 0; i < POSTERS; i++) {
		poster[i] = (struct poster){.box = &box, .index = i};
		last[i] = UINT32_MAX;
	}
	assert_int_equal(pthread_create(&starter, NULL, join_and_say_end, poster), 0);
	taken = take_many(&box, last);
	pthread_join(starter, NULL);
	for (unsigned i = 0; i < POSTERS; i++)
		refused += poster[i].refused;
	assert_int_equal(taken + refused, POSTERS * MAILS_EACH);
	assert_true(taken >= PF_MAILBOX_SLOTS);
	pf_mailbox_done(&box);
}

/* --- size --- */

static void sizes_are_read_as_people_write_them(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} row[] = {
		{"0", 0},
		{"512", 512},
		{"64K", 64 << 10},
		{"3M", 3 << 20},
		{"1G", 1 << 30},
		{"17179869183G", UINT64_C(17179869183) << 30},
		{"18446744073709551615", UINT64_MAX},
	};

	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(row); i++) {
		struct pf_err err;
		uint64_t bytes = 77;

		assert_int_equal(pf_size_parse(row[i].text, &bytes, &err), 0);
		assert_int_equal(bytes, row[i].bytes);
	}
}

static void what_is_no_size_is_refused_by_name(void **state)
{
	static const char *const bad[] = {
		"", " 1", "1 ", "-1", "+1", "K", "1k", "1KB", "1KK", "1T", "0x10", "1.5G", "1e3",
		"18446744073709551616", "17179869184G", "99999999999999999999999",
	};

	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(bad); i++) {
		struct pf_err err = {0};
		uint64_t bytes = 77;

		assert_int_equal(pf_size_parse(bad[i], &bytes, &err), -1);
		assert_int_equal(err.class, PF_ERR_USAGE);
		assert_non_null(strstr(err.text, bad[i]));
		assert_int_equal(bytes, 77);
	}
}

static void numbers_have_their_bounds(void **state)
{
	struct pf_err err = {0};
	uint64_t number = 77;

	(void)state;
	assert_int_equal(pf_number_parse("1", 1, 8, &number, &err), 0);
	assert_int_equal(number, 1);
	assert_int_equal(pf_number_parse("8", 1, 8, &number, &err), 0);
	assert_int_equal(number, 8);
	assert_int_equal(pf_number_parse("0", 1, 8, &number, &err), -1);
	assert_int_equal(err.class, PF_ERR_USAGE);
	assert_non_null(strstr(err.text, "from 1 to 8"));
	assert_int_equal(pf_number_parse("9", 1, 8, &number, &err), -1);
	assert_int_equal(pf_number_parse("4K", 1, 8192, &number, &err), -1);
	assert_int_equal(pf_number_parse("", 0, 8, &number, &err), -1);
	assert_int_equal(pf_number_parse("-1", 0, UINT64_MAX, &number, &err), -1);
	assert_int_equal(number, 8);
}

/* --- record --- */

static void record_names_go_both_ways(void **state)
{
	(void)state;
	for (enum pf_record r = PF_RECORD_NONE; r < PF_RECORD_COUNT_; r++) {
		assert_string_not_equal(pf_record_name(r), "?");
		assert_int_equal(pf_record_parse(pf_record_name(r)), r);
	}
	assert_string_equal(pf_record_name(PF_RECORD_RUN), "RUN");
	assert_string_equal(pf_record_name((enum pf_record)0), "?");
	assert_string_equal(pf_record_name(PF_RECORD_COUNT_), "?");
	assert_int_equal(pf_record_parse(""), 0);
	assert_int_equal(pf_record_parse("run"), 0);
	assert_int_equal(pf_record_parse("RUNNING"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_error_keeps_class_errno_and_text),
		cmocka_unit_test(a_long_error_is_cut_and_terminated),
		cmocka_unit_test(a_hint_travels_whole_or_not_at_all),
		cmocka_unit_test(every_error_class_has_its_exit_code),
		cmocka_unit_test(quantiles_are_within_a_32nd_of_the_exact_ones),
		cmocka_unit_test(an_empty_histogram_says_zero),
		cmocka_unit_test(the_largest_value_has_a_bucket),
		cmocka_unit_test(mail_comes_out_in_order_and_the_fd_follows),
		cmocka_unit_test(a_full_box_refuses_and_frees),
		cmocka_unit_test(what_nobody_took_is_dropped_before_it_is_freed),
		cmocka_unit_test(a_box_that_was_never_initialised_can_be_ended),
		cmocka_unit_test(threads_lose_no_mail_and_no_wake_up),
		cmocka_unit_test(sizes_are_read_as_people_write_them),
		cmocka_unit_test(what_is_no_size_is_refused_by_name),
		cmocka_unit_test(numbers_have_their_bounds),
		cmocka_unit_test(record_names_go_both_ways),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
