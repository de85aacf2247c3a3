/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/fuzz/fuzz-msg.c - any bytes as the body of each control frame.
 *
 * Input: one byte that chooses the body, then the body.  What is accepted must come back the same
 * after packing and unpacking, fit into its frame, and hold only text that can be printed.  What
 * decodes at all is tried in its shortest form too, as in fuzz-vmm-msg.c.
 */
#include <stdint.h>
#include <string.h>

#include "proto/wire.pb-c.h"
#include "tests/fuzz/fuzz.h"
#include "wire/frame.h"
#include "wire/msg.h"

static uint8_t once[PF_URGENT_BODY_MAX], twice[PF_URGENT_BODY_MAX];
static struct pf_err err;

static void check_text(const char *text, size_t max)
{
	FUZZ_ASSERT(strlen(text) <= max);
	for (; *text; text++)
		FUZZ_ASSERT(*text >= ' ' && *text <= '~');
}

static void check_same(size_t first, size_t second)
{
	FUZZ_ASSERT(first == second && memcmp(once, twice, first) == 0);
}

static void try_hello(const uint8_t *data, size_t size)
{
	struct pf_msg_hello msg, back;
	size_t length;

	if (pf_msg_unpack_hello(data, size, &msg, &err))
		return;
	check_text(msg.software, PF_SOFTWARE_MAX);
	FUZZ_ASSERT(pf_id_check(msg.id, &err) == 0);
	FUZZ_ASSERT(msg.channel <= msg.channels && msg.channels <= PF_CHANNELS_MAX);
	FUZZ_ASSERT(msg.has_proof == (msg.epoch > 0));
	length = pf_msg_pack_hello(&msg, once, sizeof(once));
	FUZZ_ASSERT(pf_msg_unpack_hello(once, length, &back, &err) == 0);
	check_same(length, pf_msg_pack_hello(&back, twice, sizeof(twice)));
}

static void try_welcome(const uint8_t *data, size_t size)
{
	struct pf_msg_welcome msg, back;
	size_t length;

	if (pf_msg_unpack_welcome(data, size, &msg, &err))
		return;
	check_text(msg.software, PF_SOFTWARE_MAX);
	FUZZ_ASSERT(msg.has_proof == (msg.epoch > 0));
	length = pf_msg_pack_welcome(&msg, once, sizeof(once));
	FUZZ_ASSERT(pf_msg_unpack_welcome(once, length, &back, &err) == 0);
	check_same(length, pf_msg_pack_welcome(&back, twice, sizeof(twice)));
}

static void try_regions(const uint8_t *data, size_t size)
{
	struct pf_region_table table, back;
	size_t length;

	if (pf_msg_unpack_regions(data, size, &table, &err))
		return;
	FUZZ_ASSERT(pf_table_check(&table, &err) == 0);
	length = pf_msg_pack_regions(&table, once, sizeof(once));
	FUZZ_ASSERT(length > 0 && length <= 4096);
	FUZZ_ASSERT(pf_msg_unpack_regions(once, length, &back, &err) == 0);
	FUZZ_ASSERT(pf_table_compare(&table, &back, &err) == 0);
}

static void try_paused(const uint8_t *data, size_t size)
{
	uint64_t state, back;
	size_t length;

	if (pf_msg_unpack_paused(data, size, &state, &err))
		return;
	length = pf_msg_pack_paused(state, once, sizeof(once));
	FUZZ_ASSERT(length == size);
	FUZZ_ASSERT(pf_msg_unpack_paused(once, length, &back, &err) == 0 && back == state);
}

static void try_verdict(const uint8_t *data, size_t size)
{
	struct pf_msg_verdict msg, back;
	size_t length;

	if (pf_msg_unpack_verdict(data, size, &msg, &err))
		return;
	check_text(msg.reason, PF_REASON_MAX);
	FUZZ_ASSERT(strcmp(pf_record_name(msg.record), "?") != 0);
	length = pf_msg_pack_verdict(&msg, once, sizeof(once));
	FUZZ_ASSERT(length > 0 && length <= 512);
	FUZZ_ASSERT(pf_msg_unpack_verdict(once, length, &back, &err) == 0);
	check_same(length, pf_msg_pack_verdict(&back, twice, sizeof(twice)));
}

static void try_failure(const uint8_t *data, size_t size)
{
	char reason[PF_REASON_MAX + 1], back[PF_REASON_MAX + 1];
	size_t length;

	if (pf_msg_unpack_failure(data, size, reason, &err))
		return;
	check_text(reason, PF_REASON_MAX);
	length = pf_msg_pack_failure(reason, once, sizeof(once));
	FUZZ_ASSERT(length == size);
	FUZZ_ASSERT(pf_msg_unpack_failure(once, length, back, &err) == 0);
	FUZZ_ASSERT(strcmp(reason, back) == 0);
}

static const struct {
	void (*try)(const uint8_t *data, size_t size);
	const ProtobufCMessageDescriptor *descriptor;
} bodies[] = {
	{try_hello, &pageferry__wire__hello__descriptor},
	{try_welcome, &pageferry__wire__welcome__descriptor},
	{try_regions, &pageferry__wire__regions__descriptor},
	{try_paused, &pageferry__wire__paused__descriptor},
	{try_verdict, &pageferry__wire__verdict__descriptor},
	{try_failure, &pageferry__wire__failure__descriptor},
};

static void try_body(size_t body, const uint8_t *data, size_t size)
{
	err = (struct pf_err){0};
	bodies[body].try(data, size);
	FUZZ_ASSERT(err.class == PF_ERR_NONE || (err.class == PF_ERR_PROTOCOL && err.text[0]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t shortest[PF_URGENT_BODY_MAX];
	ProtobufCMessage *message;
	size_t body;

	if (size == 0 || size > 1 + PF_URGENT_BODY_MAX)
		return 0;
	body = data[0] % (sizeof(bodies) / sizeof(bodies[0]));
	try_body(body, data + 1, size - 1);
	message = protobuf_c_message_unpack(bodies[body].descriptor, NULL, size - 1, data + 1);
	if (!message)
		return 0;
	if (protobuf_c_message_get_packed_size(message) <= sizeof(shortest))
		try_body(body, shortest, protobuf_c_message_pack(message, shortest));
	protobuf_c_message_free_unpacked(message, NULL);
	return 0;
}
