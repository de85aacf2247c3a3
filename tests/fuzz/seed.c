/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/fuzz/seed.c - writes the seeds of the fuzzers from the golden vectors
 * (tests/unit/vectors.c).
 *
 * Argument: the corpus folder.  Each vector becomes one file, with the leading bytes that choose
 * the rules so that the target accepts it.  `make fuzz-seeds` runs it; what it writes is committed,
 * and beside it what the fuzzers found.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "tests/unit/vectors.h"
#include "wire/frame.h"
#include "wire/vmm_msg.h"

static const char *folder;

static int write_seed(const char *target, const char *name, const uint8_t *head, size_t head_length,
		      const char *hex)
{
	uint8_t bytes[4096];
	char path[PATH_MAX];
	size_t length;
	FILE *file;
	int failed;

	if (!vector_bytes(hex, bytes, sizeof(bytes), &length)) {
		fprintf(stderr, "%s: the vector is not hex\n", name);
		return -1;
	}
	snprintf(path, sizeof(path), "%s/%s", folder, target);
	(void)mkdir(path, 0777);
	snprintf(path, sizeof(path), "%s/%s/%s", folder, target, name);
	file = fopen(path, "wb");
	failed = !file || fwrite(head, 1, head_length, file) != head_length ||
		 fwrite(bytes, 1, length, file) != length;
	if (file)
		failed |= fclose(file);
	if (failed)
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
	return failed ? -1 : 0;
}

/* The leading byte of fuzz-frame.c under which the header is accepted. */
static int frame_rules(const char *hex, uint8_t *out)
{
	static const struct pf_region_table table = {
		.count = 2,
		.region = {{.gpa = 0, .size = 16u << 20, .page_size = 4096},
			   {.gpa = 1u << 30, .size = 4u << 20, .page_size = 2u << 20}},
	};
	uint8_t bytes[PF_FRAME_HEADER_BYTES];
	size_t length;

	if (!vector_bytes(hex, bytes, sizeof(bytes), &length) || length != sizeof(bytes))
		return -1;
	for (uint8_t i = 0; i < 8; i++) {
		struct pf_frame_rules rules = {
			.from_source = i & 1,
			.urgent = i & 2,
			.epoch = i & 4 ? 7 : 0,
			.table = &table,
			.device_state_size = 100000,
		};
		struct pf_frame frame;
		struct pf_err err;

		*out = i | 8 | 16;
		if (pf_frame_check(bytes, &rules, &frame, &err) == 0)
			return 0;
	}
	return -1;
}

static int seed_frames(void)
{
	for (const struct vector *v = frame_vectors; v->name; v++) {
		uint8_t head;

		if (frame_rules(v->hex, &head)) {
			fprintf(stderr, "%s: nobody accepts this frame\n", v->name);
			return -1;
		}
		if (write_seed("frame", v->name, &head, 1, v->hex))
			return -1;
	}
	return 0;
}

/* In the order of the functions of fuzz-msg.c: a vector's name begins with its body's. */
static int seed_messages(void)
{
	static const char *const bodies[] = {"hello",  "welcome", "regions",
					     "paused", "verdict", "failure"};

	for (const struct vector *v = message_vectors; v->name; v++)
		for (uint8_t i = 0; i < PF_ARRAY_LEN(bodies); i++)
			if (strncmp(v->name, bodies[i], strlen(bodies[i])) == 0 &&
			    write_seed("msg", v->name, &i, 1, v->hex))
				return -1;
	return 0;
}

static int seed_vmm_messages(void)
{
	for (const struct vector *v = vmm_vectors; v->name; v++)
		for (uint8_t i = 0; i < 12; i++) {
			const uint8_t head[] = {i & 1, i / 2};
			static struct pf_vmm_message msg;
			uint8_t bytes[4096];
			struct pf_err err;
			size_t length;

			if (!vector_bytes(v->hex, bytes, sizeof(bytes), &length))
				return -1;
			if (pf_vmm_msg_unpack(bytes, length, head[0], head[1], &msg, &err))
				continue;
			if (write_seed("vmm-msg", v->name, head, sizeof(head), v->hex))
				return -1;
			break;
		}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: %s CORPUS\n", argv[0]);
		return 64;
	}
	folder = argv[1];
	return seed_frames() || seed_messages() || seed_vmm_messages() ? 1 : 0;
}
