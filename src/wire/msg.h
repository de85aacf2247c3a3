/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/msg.h - the protobuf bodies of control frames as checked C structs.  proto/WIRE.md.
 *
 * The only place that knows the generated types of wire.proto.  Decoding allocates nothing that
 * outlives the call and no more than the body's own size times a small factor; every enum, string
 * and length is checked.  No I/O; any thread.
 */
#ifndef PF_WIRE_MSG_H
#define PF_WIRE_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/page.h"
#include "base/record.h"

#define PF_WIRE_PROTOCOL 1u
#define PF_ID_MAX 64u	    /* --id: 1..64 of [A-Za-z0-9._-], not starting with a dot or dash */
#define PF_PROOF_BYTES 32u
#define PF_REASON_MAX 256u
#define PF_CHANNELS_MAX 8u
#define PF_SOFTWARE_MAX 64u
#define PF_WIRE_FEATURES UINT64_C(0) /* the bits known here; a peer that sets others is refused */

struct pf_msg_hello {
	uint32_t protocol;
	char id[PF_ID_MAX + 1];
	uint32_t channel, channels;
	uint32_t epoch;
	enum pf_record record; /* NONE, OFFERED, GONE or KEPT */
	bool has_proof;
	uint8_t proof[PF_PROOF_BYTES];
	char software[PF_SOFTWARE_MAX + 1];
	uint64_t features;
};

struct pf_msg_welcome {
	uint32_t protocol;
	uint32_t epoch;	       /* 0: without a proof */
	enum pf_record record; /* NONE, READY, RUN, REFUSED or ABORTED */
	bool has_proof;	       /* false: it does not know the session that HELLO is of */
	uint8_t proof[PF_PROOF_BYTES];
	char software[PF_SOFTWARE_MAX + 1];
	uint64_t features;
};

struct pf_msg_verdict {
	uint32_t epoch;
	enum pf_record record;
	char reason[PF_REASON_MAX + 1]; /* printable; control characters come out as '?' */
};

/* Each packs into out (size bytes) and returns the length; the caller's buffer of
 * PF_URGENT_BODY_MAX is always large enough. */
size_t pf_msg_pack_hello(const struct pf_msg_hello *msg, uint8_t *out, size_t size);
size_t pf_msg_pack_welcome(const struct pf_msg_welcome *msg, uint8_t *out, size_t size);
size_t pf_msg_pack_regions(const struct pf_region_table *table, uint8_t *out, size_t size);
size_t pf_msg_pack_paused(uint64_t device_state_size, uint8_t *out, size_t size);
size_t pf_msg_pack_verdict(const struct pf_msg_verdict *msg, uint8_t *out, size_t size);
size_t pf_msg_pack_failure(const char *reason, uint8_t *out, size_t size);

/* Each decodes and checks; PF_ERR_PROTOCOL, and *out is filled only on 0. */
PF_MUST_USE int pf_msg_unpack_hello(const uint8_t *in, size_t length, struct pf_msg_hello *out,
				    struct pf_err *err);
PF_MUST_USE int pf_msg_unpack_welcome(const uint8_t *in, size_t length,
				      struct pf_msg_welcome *out, struct pf_err *err);
PF_MUST_USE int pf_msg_unpack_regions(const uint8_t *in, size_t length,
				      struct pf_region_table *out, struct pf_err *err);
PF_MUST_USE int pf_msg_unpack_paused(const uint8_t *in, size_t length, uint64_t *out_size,
				     struct pf_err *err);
PF_MUST_USE int pf_msg_unpack_verdict(const uint8_t *in, size_t length,
				      struct pf_msg_verdict *out, struct pf_err *err);
PF_MUST_USE int pf_msg_unpack_failure(const uint8_t *in, size_t length,
				      char out_reason[PF_REASON_MAX + 1], struct pf_err *err);

/* 0 if text is a migration id as WIRE.md defines it; else PF_ERR_USAGE. */
PF_MUST_USE int pf_id_check(const char *text, struct pf_err *err);

#endif
