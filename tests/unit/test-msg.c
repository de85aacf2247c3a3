/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/test-msg.c - the bodies of control frames: golden bytes, and what must be refused.
 *
 * Bad bodies are made with the generated types, so that they decode and only a check can refuse
 * them; what does not decode at all is given as bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "proto/wire.pb-c.h"
#include "tests/unit/vectors.h"
#include "wire/frame.h"
#include "wire/msg.h"

static uint8_t bytes[PF_URGENT_BODY_MAX];

static size_t golden(const char *name, uint8_t *out, size_t size)
{
	const struct vector *vector = vector_find(message_vectors, name);
	size_t length;

	assert_non_null(vector);
	assert_true(vector_bytes(vector->hex, out, size, &length));
	return length;
}

/* What was packed into `bytes` is the golden vector. */
static void assert_golden(const char *name, size_t length)
{
	uint8_t want[PF_URGENT_BODY_MAX];
	size_t want_length = golden(name, want, sizeof(want));

	if (length != want_length || memcmp(bytes, want, length) != 0)
		fail_msg("%s differs from its golden bytes", name);
}

static void fill(uint8_t *proof, uint8_t first)
{
	for (unsigned i = 0; i < PF_PROOF_BYTES; i++)
		proof[i] = (uint8_t)(first + i);
}

static struct pf_msg_hello hello(uint32_t channel, uint32_t channels, uint32_t epoch,
				 enum pf_record record)
{
	struct pf_msg_hello msg = {
		.protocol = 1,
		.id = "vm-42",
		.channel = channel,
		.channels = channels,
		.epoch = epoch,
		.record = record,
		.has_proof = epoch > 0,
		.software = "pageferry 0.1.0",
	};

	if (msg.has_proof)
		fill(msg.proof, 0);
	return msg;
}

static void check_hello(const char *name, struct pf_msg_hello msg)
{
	struct pf_msg_hello back;
	struct pf_err err = {0};
	size_t length = pf_msg_pack_hello(&msg, bytes, sizeof(bytes));

	assert_golden(name, length);
	if (pf_msg_unpack_hello(bytes, length, &back, &err))
		fail_msg("%s: %s", name, err.text);
	assert_int_equal(back.protocol, msg.protocol);
	assert_string_equal(back.id, msg.id);
	assert_int_equal(back.channel, msg.channel);
	assert_int_equal(back.channels, msg.channels);
	assert_int_equal(back.epoch, msg.epoch);
	assert_int_equal(back.record, msg.record);
	assert_int_equal(back.has_proof, msg.has_proof);
	assert_memory_equal(back.proof, msg.proof, sizeof(msg.proof));
	assert_string_equal(back.software, msg.software);
	assert_int_equal(back.features, msg.features);
}

static void hellos_have_their_golden_bytes_and_come_back(void **state)
{
	(void)state;
	check_hello("hello-first", hello(0, 2, 0, PF_RECORD_NONE));
	check_hello("hello-bulk", hello(2, 2, 3, PF_RECORD_NONE));
	check_hello("hello-gone", hello(0, 8, UINT32_MAX, PF_RECORD_GONE));
}

static void check_welcome(const char *name, uint32_t epoch, enum pf_record record, bool proves)
{
	struct pf_msg_welcome back, msg = {.protocol = 1,
					   .epoch = epoch,
					   .record = record,
					   .has_proof = proves,
					   .software = "pageferry 0.1.0"};
	struct pf_err err = {0};
	size_t length;

	if (proves)
		fill(msg.proof, 32);
	length = pf_msg_pack_welcome(&msg, bytes, sizeof(bytes));
	assert_golden(name, length);
	if (pf_msg_unpack_welcome(bytes, length, &back, &err))
		fail_msg("%s: %s", name, err.text);
	assert_int_equal(back.protocol, 1);
	assert_int_equal(back.epoch, epoch);
	assert_int_equal(back.record, record);
	assert_int_equal(back.has_proof, proves);
	assert_memory_equal(back.proof, msg.proof, sizeof(msg.proof));
	assert_string_equal(back.software, msg.software);
	assert_int_equal(back.features, 0);
}

static void welcomes_have_their_golden_bytes_and_come_back(void **state)
{
	(void)state;
	check_welcome("welcome", 1, PF_RECORD_NONE, true);
	check_welcome("welcome-run", 300, PF_RECORD_RUN, true);
	check_welcome("welcome-stranger", 0, PF_RECORD_NONE, false);
}

static void a_region_table_has_its_golden_bytes_and_comes_back(void **state)
{
	const struct pf_region_table table = {
		.count = 2,
		.region = {{0, UINT64_C(16) << 20, 4096},
			   {UINT64_C(4) << 30, UINT64_C(4) << 20, 2u << 20}},
	};
	struct pf_region_table back;
	struct pf_err err = {0};
	size_t length = pf_msg_pack_regions(&table, bytes, sizeof(bytes));

	(void)state;
	assert_golden("regions", length);
	assert_int_equal(pf_msg_unpack_regions(bytes, length, &back, &err), 0);
	assert_int_equal(pf_table_compare(&table, &back, &err), 0);
}

/* frame.c allows REGIONS 4096 bytes and every other body 512. */
static void the_longest_bodies_fit_into_their_frames(void **state)
{
	struct pf_region_table table = {.count = PF_REGIONS_MAX};
	struct pf_msg_hello msg = hello(8, 8, UINT32_MAX, PF_RECORD_GONE);
	struct pf_msg_verdict verdict = {.epoch = UINT32_MAX, .record = PF_RECORD_ABORTED};
	char reason[1000] = {0};

	(void)state;
	for (uint32_t i = 0; i < PF_REGIONS_MAX; i++)
		table.region[i] = (struct pf_region_shape){
			UINT64_MAX - (PF_REGIONS_MAX - i) * 4096 + 1, UINT64_MAX, 2u << 20};
	assert_in_range(pf_msg_pack_regions(&table, bytes, sizeof(bytes)), 1500, 4096);
	memset(msg.id, 'i', PF_ID_MAX);
	memset(msg.software, 's', PF_SOFTWARE_MAX);
	msg.features = UINT64_MAX;
	assert_in_range(pf_msg_pack_hello(&msg, bytes, sizeof(bytes)), 150, 512);
	memset(verdict.reason, 'r', PF_REASON_MAX);
	assert_in_range(pf_msg_pack_verdict(&verdict, bytes, sizeof(bytes)), 256, 512);
	memset(reason, 'r', sizeof(reason) - 1);
	assert_in_range(pf_msg_pack_failure(reason, bytes, sizeof(bytes)), 256, 512);
}

static void what_does_not_fit_is_not_packed(void **state)
{
	struct pf_msg_hello msg = hello(0, 2, 0, PF_RECORD_NONE);

	(void)state;
	assert_int_equal(pf_msg_pack_hello(&msg, bytes, 10), 0);
}

static void the_device_state_size_comes_back(void **state)
{
	uint64_t size = 1;
	struct pf_err err = {0};

	(void)state;
	assert_golden("paused", pf_msg_pack_paused(100000, bytes, sizeof(bytes)));
	assert_int_equal(pf_msg_unpack_paused(bytes, 4, &size, &err), 0);
	assert_int_equal(size, 100000);
	assert_golden("paused-empty", pf_msg_pack_paused(0, bytes, sizeof(bytes)));
	assert_int_equal(pf_msg_unpack_paused(bytes, 0, &size, &err), 0);
	assert_int_equal(size, 0);
}

static void verdicts_have_their_golden_bytes_and_come_back(void **state)
{
	static const struct {
		const char *name;
		struct pf_msg_verdict msg;
	} list[] = {
		{"verdict-ready", {1, PF_RECORD_READY, ""}},
		{"verdict-commit", {1, PF_RECORD_OFFERED, ""}},
		{"verdict-run", {1, PF_RECORD_RUN, ""}},
		{"verdict-refused", {1, PF_RECORD_REFUSED, "KVM_RUN: Invalid argument"}},
		{"verdict-aborted", {2, PF_RECORD_ABORTED, "cancelled"}},
	};

	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(list); i++) {
		struct pf_msg_verdict back;
		struct pf_err err = {0};
		size_t length = pf_msg_pack_verdict(&list[i].msg, bytes, sizeof(bytes));

		assert_golden(list[i].name, length);
		assert_int_equal(pf_msg_unpack_verdict(bytes, length, &back, &err), 0);
		assert_int_equal(back.epoch, list[i].msg.epoch);
		assert_int_equal(back.record, list[i].msg.record);
		assert_string_equal(back.reason, list[i].msg.reason);
	}
}

static void a_failure_has_its_golden_bytes_and_comes_back(void **state)
{
	char reason[PF_REASON_MAX + 1];
	struct pf_err err = {0};
	size_t length = pf_msg_pack_failure("the region tables differ", bytes, sizeof(bytes));

	(void)state;
	assert_golden("failure", length);
	assert_int_equal(pf_msg_unpack_failure(bytes, length, reason, &err), 0);
	assert_string_equal(reason, "the region tables differ");
	assert_golden("failure-empty", pf_msg_pack_failure("", bytes, sizeof(bytes)));
	assert_int_equal(pf_msg_unpack_failure(bytes, 0, reason, &err), 0);
	assert_string_equal(reason, "");
}

/* An error's text may have been made from the peer's bytes, and it goes to a terminal and a log. */
static void text_for_people_arrives_printable(void **state)
{
	Pageferry__Wire__Failure body = PAGEFERRY__WIRE__FAILURE__INIT;
	char evil[] = "a\033[31m\n\x7f\xc3\xa9z", reason[PF_REASON_MAX + 1];
	struct pf_err err = {0};
	size_t length;

	(void)state;
	body.reason = evil;
	length = pageferry__wire__failure__pack(&body, bytes);
	assert_int_equal(pf_msg_unpack_failure(bytes, length, reason, &err), 0);
	assert_string_equal(reason, "a?[31m????z");
}

static void ids_are_judged(void **state)
{
	static const char long_id[] =
		"0123456789012345678901234567890123456789012345678901234567890123";
	static const struct {
		const char *id, *text;
	} bad[] = {
		{"", "the migration id '' is empty"},
		{".x", "the migration id '.x' begins with a dot or a dash"},
		{"-x", "the migration id '-x' begins with a dot or a dash"},
		{"a/b",
		 "the migration id 'a/b' has a character that is not one of A-Z a-z 0-9 . _ -"},
		{"a\nb",
		 "the migration id 'a?b' has a character that is not one of A-Z a-z 0-9 . _ -"},
	};
	char longer[PF_ID_MAX + 2] = {0};
	struct pf_err err = {0};

	(void)state;
	assert_int_equal(strlen(long_id), PF_ID_MAX);
	assert_int_equal(pf_id_check(long_id, &err), 0);
	assert_int_equal(pf_id_check("vm_4.2-B", &err), 0);
	memset(longer, 'x', PF_ID_MAX + 1);
	assert_int_equal(pf_id_check(longer, &err), -1);
	assert_non_null(strstr(err.text, "' has more than 64 characters"));
	for (size_t i = 0; i < PF_ARRAY_LEN(bad); i++) {
		assert_int_equal(pf_id_check(bad[i].id, &err), -1);
		assert_string_equal(err.text, bad[i].text);
		assert_int_equal(err.class, PF_ERR_USAGE);
	}
}

static void assert_hello_refused(Pageferry__Wire__Hello *body, const char *text)
{
	struct pf_msg_hello out;
	struct pf_err err = {0};
	size_t length = pageferry__wire__hello__pack(body, bytes);

	if (pf_msg_unpack_hello(bytes, length, &out, &err) != -1)
		fail_msg("accepted: %s", text);
	assert_string_equal(err.text, text);
	assert_int_equal(err.class, PF_ERR_PROTOCOL);
}

#define BAD_HELLO(change, text)                                                                    \
	do {                                                                                       \
		Pageferry__Wire__Hello body = good;                                                \
		change;                                                                            \
		assert_hello_refused(&body, text);                                                 \
	} while (0)

static void bad_hellos_are_refused_with_their_reason(void **state)
{
	Pageferry__Wire__Hello good = PAGEFERRY__WIRE__HELLO__INIT;
	char id[] = "vm", bad_id[] = "../vm", software[66] = {0};
	uint8_t proof[33] = {0};

	(void)state;
	good.protocol = 1;
	good.id = id;
	good.channels = 2;
	good.record = PAGEFERRY__WIRE__RECORD__NONE;
	memset(software, 's', 65);

	BAD_HELLO(body.protocol = 0, "the peer speaks protocol 0, this is protocol 1");
	BAD_HELLO(body.protocol = 2, "the peer speaks protocol 2, this is protocol 1");
	BAD_HELLO(body.features = 6, "the peer requires the features 0x6, which are unknown here");
	BAD_HELLO(body.id = bad_id, "the migration id '../vm' has a character that is not one of "
				    "A-Z a-z 0-9 . _ -");
	BAD_HELLO(body.software = software, "a software name of 65 bytes; 64 are allowed");
	BAD_HELLO(body.record = 0, "0 (?) is not a record of the source");
	BAD_HELLO(body.record = PAGEFERRY__WIRE__RECORD__RUN,
		  "6 (RUN) is not a record of the source");
	BAD_HELLO(body.record = (Pageferry__Wire__Record)9, "9 (?) is not a record of the source");
	BAD_HELLO(body.record = (Pageferry__Wire__Record)-1,
		  "-1 (?) is not a record of the source");
	BAD_HELLO(body.channels = 0, "a Hello with 0 bulk channels; 1 to 8 are allowed");
	BAD_HELLO(body.channels = 9, "a Hello with 9 bulk channels; 1 to 8 are allowed");
	BAD_HELLO(body.channel = 3, "a Hello for channel 3 of 2");
	BAD_HELLO(body.channel = 1, "a Hello without an epoch for bulk channel 1");
	BAD_HELLO(body.record = PAGEFERRY__WIRE__RECORD__GONE,
		  "a Hello without an epoch and record GONE");
	BAD_HELLO((body.proof.data = proof, body.proof.len = 32),
		  "a Hello of epoch 0 with a proof of 32 bytes");
	BAD_HELLO(body.epoch = 1, "a Hello of epoch 1 with a proof of 0 bytes");
	BAD_HELLO((body.epoch = 1, body.proof.data = proof, body.proof.len = 33),
		  "a Hello of epoch 1 with a proof of 33 bytes");
}

static void assert_welcome_refused(Pageferry__Wire__Welcome *body, const char *text)
{
	struct pf_msg_welcome out;
	struct pf_err err = {0};
	size_t length = pageferry__wire__welcome__pack(body, bytes);

	if (pf_msg_unpack_welcome(bytes, length, &out, &err) != -1)
		fail_msg("accepted: %s", text);
	assert_string_equal(err.text, text);
}

#define BAD_WELCOME(change, text)                                                                  \
	do {                                                                                       \
		Pageferry__Wire__Welcome body = good;                                              \
		change;                                                                            \
		assert_welcome_refused(&body, text);                                               \
	} while (0)

static void bad_welcomes_are_refused_with_their_reason(void **state)
{
	Pageferry__Wire__Welcome good = PAGEFERRY__WIRE__WELCOME__INIT;
	uint8_t proof[32] = {0};

	(void)state;
	good.protocol = 1;
	good.epoch = 1;
	good.record = PAGEFERRY__WIRE__RECORD__NONE;
	good.proof.data = proof;
	good.proof.len = sizeof(proof);
	BAD_WELCOME(body.protocol = 3, "the peer speaks protocol 3, this is protocol 1");
	BAD_WELCOME(body.features = 1,
		    "the peer requires the features 0x1, which are unknown here");
	BAD_WELCOME(body.record = PAGEFERRY__WIRE__RECORD__GONE,
		    "3 (GONE) is not a record of the destination");
	BAD_WELCOME(body.epoch = 0, "a Welcome of epoch 0 with a proof of 32 bytes");
	BAD_WELCOME(body.proof.len = 0, "a Welcome of epoch 1 with a proof of 0 bytes");
	BAD_WELCOME(body.proof.len = 31, "a Welcome of epoch 1 with a proof of 31 bytes");
}

static void bad_region_tables_are_refused_with_their_reason(void **state)
{
	Pageferry__Wire__Regions body = PAGEFERRY__WIRE__REGIONS__INIT;
	Pageferry__Wire__Region region = PAGEFERRY__WIRE__REGION__INIT, *list[PF_REGIONS_MAX + 1];
	struct pf_region_table out;
	struct pf_err err = {0};

	(void)state;
	for (unsigned i = 0; i < PF_ARRAY_LEN(list); i++)
		list[i] = &region;
	body.region = list;
	assert_int_equal(pf_msg_unpack_regions(bytes, 0, &out, &err), -1);
	assert_string_equal(err.text, "a region table of 0 regions; 1 to 64 are allowed");
	body.n_region = PF_REGIONS_MAX + 1;
	assert_int_equal(pf_msg_unpack_regions(bytes, pageferry__wire__regions__pack(&body, bytes),
					       &out, &err),
			 -1);
	assert_string_equal(err.text, "a region table of 65 regions; 1 to 64 are allowed");
	body.n_region = 2;
	region.size = region.page_size = 4096;
	assert_int_equal(pf_msg_unpack_regions(bytes, pageferry__wire__regions__pack(&body, bytes),
					       &out, &err),
			 -1);
	assert_string_equal(err.text, "region 1 (GPA 0x0, 4096 bytes, pages of 4096): it overlaps "
				      "the region before it, or the table is not sorted by GPA");
}

static void bad_verdicts_and_failures_are_refused_with_their_reason(void **state)
{
	Pageferry__Wire__Verdict body = PAGEFERRY__WIRE__VERDICT__INIT;
	Pageferry__Wire__Failure failure = PAGEFERRY__WIRE__FAILURE__INIT;
	char long_reason[PF_REASON_MAX + 2] = {0}, reason[PF_REASON_MAX + 1];
	struct pf_msg_verdict out;
	struct pf_err err = {0};

	(void)state;
	memset(long_reason, 'r', PF_REASON_MAX + 1);
	body.epoch = 1;
	assert_int_equal(pf_msg_unpack_verdict(bytes, pageferry__wire__verdict__pack(&body, bytes),
					       &out, &err),
			 -1);
	assert_string_equal(err.text, "0 (?) is not a record of the protocol");
	body.record = PAGEFERRY__WIRE__RECORD__RUN;
	body.epoch = 0;
	assert_int_equal(pf_msg_unpack_verdict(bytes, pageferry__wire__verdict__pack(&body, bytes),
					       &out, &err),
			 -1);
	assert_string_equal(err.text, "a Verdict without an epoch");
	body.reason = failure.reason = long_reason;
	assert_int_equal(pf_msg_unpack_verdict(bytes, pageferry__wire__verdict__pack(&body, bytes),
					       &out, &err),
			 -1);
	assert_string_equal(err.text, "a reason of 257 bytes; 256 are allowed");
	assert_int_equal(pf_msg_unpack_failure(bytes,
					       pageferry__wire__failure__pack(&failure, bytes),
					       reason, &err),
			 -1);
	assert_string_equal(err.text, "a reason of 257 bytes; 256 are allowed");
}

static void bytes_that_are_no_strict_body_are_refused(void **state)
{
	static const struct {
		const char *hex, *text;
	} bad[] = {
		{"08", "the Paused body of 1 bytes does not decode"},
		{"08ff", "the Paused body of 2 bytes does not decode"},
		{"0f01", "the Paused body of 2 bytes does not decode"},
		{"1001", "the Paused body of 2 bytes has a field that this version does not know"},
		{"0a0100", "the Paused body of 3 bytes does not decode"},
		{"08010802",
		 "the Paused body of 4 bytes is not in its shortest form, or names a field twice"},
		{"0800",
		 "the Paused body of 2 bytes is not in its shortest form, or names a field twice"},
		{"088100",
		 "the Paused body of 3 bytes is not in its shortest form, or names a field twice"},
	};

	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(bad); i++) {
		uint64_t size;
		struct pf_err err = {0};
		size_t length;

		assert_true(vector_bytes(bad[i].hex, bytes, sizeof(bytes), &length));
		if (pf_msg_unpack_paused(bytes, length, &size, &err) != -1)
			fail_msg("accepted: %s", bad[i].hex);
		assert_string_equal(err.text, bad[i].text);
	}
}

static void strictness_reaches_sub_messages_and_strings(void **state)
{
	struct pf_region_table table;
	char reason[PF_REASON_MAX + 1];
	struct pf_err err = {0};
	size_t length;

	(void)state;
	/* Regions{region{gpa: 0, unknown field 5: 1}} */
	assert_true(vector_bytes("0a022801", bytes, sizeof(bytes), &length));
	assert_int_equal(pf_msg_unpack_regions(bytes, length, &table, &err), -1);
	assert_string_equal(
		err.text,
		"the Regions body of 4 bytes has a field that this version does not know");
	/* Failure{reason: "a\0b"} */
	assert_true(vector_bytes("0a03610062", bytes, sizeof(bytes), &length));
	assert_int_equal(pf_msg_unpack_failure(bytes, length, reason, &err), -1);
	assert_string_equal(err.text, "the Failure body of 5 bytes is not in its shortest form, or "
				      "names a field twice");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hellos_have_their_golden_bytes_and_come_back),
		cmocka_unit_test(welcomes_have_their_golden_bytes_and_come_back),
		cmocka_unit_test(a_region_table_has_its_golden_bytes_and_comes_back),
		cmocka_unit_test(the_longest_bodies_fit_into_their_frames),
		cmocka_unit_test(what_does_not_fit_is_not_packed),
		cmocka_unit_test(the_device_state_size_comes_back),
		cmocka_unit_test(verdicts_have_their_golden_bytes_and_come_back),
		cmocka_unit_test(a_failure_has_its_golden_bytes_and_comes_back),
		cmocka_unit_test(text_for_people_arrives_printable),
		cmocka_unit_test(ids_are_judged),
		cmocka_unit_test(bad_hellos_are_refused_with_their_reason),
		cmocka_unit_test(bad_welcomes_are_refused_with_their_reason),
		cmocka_unit_test(bad_region_tables_are_refused_with_their_reason),
		cmocka_unit_test(bad_verdicts_and_failures_are_refused_with_their_reason),
		cmocka_unit_test(bytes_that_are_no_strict_body_are_refused),
		cmocka_unit_test(strictness_reaches_sub_messages_and_strings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
