/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/hostile/words.c - a command's words, and the frame that they describe; see peer.h. */
#include "tests/hostile/peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

void words_split(char *line, struct words *out)
{
	char *rest = NULL;

	out->count = 0;
	for (char *word = strtok_r(line, " \n", &rest); word && out->count < PEER_WORDS_MAX;
	     word = strtok_r(NULL, " \n", &rest))
		out->word[out->count++] = word;
}

const char *words_text(const struct words *words, const char *name, const char *otherwise)
{
	size_t length = strlen(name);

	for (unsigned i = 0; i < words->count; i++)
		if (strncmp(words->word[i], name, length) == 0 && words->word[i][length] == '=')
			return words->word[i] + length + 1;
	return otherwise;
}

uint64_t words_number(const struct words *words, const char *name, uint64_t otherwise)
{
	const char *text = words_text(words, name, NULL);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

uint8_t words_type(const char *text)
{
	for (unsigned type = 1; type < 256; type++)
		if (strcmp(pf_frame_name((uint8_t)type), text) == 0)
			return (uint8_t)type;
	return (uint8_t)strtoul(text, NULL, 0);
}

static void put(uint8_t *out, uint64_t value, unsigned bytes)
{
	while (bytes-- > 0) {
		out[bytes] = (uint8_t)value;
		value >>= 8;
	}
}

static size_t put_hex(const char *text, uint8_t *out, size_t size)
{
	size_t length = 0;
	unsigned byte;

	while (length < size && sscanf(text, "%2x", &byte) == 1 && text[1]) {
		out[length++] = (uint8_t)byte;
		text += 2;
	}
	return length;
}

/* "GPA:SIZE:PAGESIZE,..." */
static size_t put_regions(const char *text, uint8_t *out, size_t size)
{
	struct pf_region_table table = {0};

	while (*text && table.count < PF_REGIONS_MAX) {
		struct pf_region_shape *shape = &table.region[table.count++];
		char *end;

		shape->gpa = strtoull(text, &end, 0);
		shape->size = *end ? strtoull(end + 1, &end, 0) : 0;
		shape->page_size = *end ? (uint32_t)strtoul(end + 1, &end, 0) : 0;
		text = *end ? end + 1 : end;
	}
	return pf_msg_pack_regions(&table, out, size);
}

/* "RECORD" with the connection's epoch, or with verdict-epoch=. */
static size_t put_verdict(const struct words *words, const char *record, uint32_t epoch,
			  uint8_t *out, size_t size)
{
	struct pf_msg_verdict verdict = {
		.epoch = (uint32_t)words_number(words, "verdict-epoch", epoch),
		.record = pf_record_parse(record),
	};

	return pf_msg_pack_verdict(&verdict, out, size);
}

static size_t put_body(const struct words *words, uint32_t epoch, uint8_t *out, size_t size)
{
	const char *text;
	size_t length;

	if ((text = words_text(words, "hex", NULL)))
		return put_hex(text, out, size);
	if ((text = words_text(words, "regions", NULL)))
		return put_regions(text, out, size);
	if ((text = words_text(words, "paused", NULL)))
		return pf_msg_pack_paused(strtoull(text, NULL, 0), out, size);
	if ((text = words_text(words, "verdict", NULL)))
		return put_verdict(words, text, epoch, out, size);
	if ((text = words_text(words, "failure", NULL)))
		return pf_msg_pack_failure(text, out, size);
	length = (size_t)words_number(words, "body", 0);
	if (length <= size)
		memset(out, 0x5a, length);
	return length;
}

/* frame CONNECTION TYPE ...; every field of the header can be anything. */
bool words_frame(const struct words *words, uint32_t epoch, struct raw_frame *out)
{
	uint8_t *header = out->bytes;
	size_t body;

	if (words->count < 3)
		return false;
	body = put_body(words, epoch, header + PF_FRAME_HEADER_BYTES,
			sizeof(out->bytes) - PF_FRAME_HEADER_BYTES);
	if (body > sizeof(out->bytes) - PF_FRAME_HEADER_BYTES)
		return false;
	put(header, words_number(words, "magic", PF_FRAME_MAGIC), 2);
	put(header + 2, words_number(words, "version", PF_FRAME_VERSION), 1);
	put(header + 3, words_type(words->word[2]), 1);
	put(header + 4, words_number(words, "region", 0), 2);
	put(header + 6, words_number(words, "reserved", 0), 2);
	put(header + 8, words_number(words, "epoch", epoch), 4);
	put(header + 12, words_number(words, "length", body), 4);
	put(header + 16, words_number(words, "page", 0), 8);
	put(header + 24, words_number(words, "count", 0), 4);
	put(header + 28, words_number(words, "extra", 0), 4);
	out->length = PF_FRAME_HEADER_BYTES + body;
	if (words_number(words, "cut", out->length) < out->length)
		out->length = (size_t)words_number(words, "cut", 0);
	return true;
}
