/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* wire/msg.c - see wire/msg.h; what is checked: proto/WIRE.md, "Bodies". */
#include "wire/msg.h"

#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "proto/wire.pb-c.h"
#include "wire/body.h"

#define SAME(record)                                                                               \
	_Static_assert((int)PF_RECORD_##record == (int)PAGEFERRY__WIRE__RECORD__##record,          \
		       "the wire's number of " #record)

SAME(NONE);
SAME(OFFERED);
SAME(GONE);
SAME(KEPT);
SAME(READY);
SAME(RUN);
SAME(REFUSED);
SAME(ABORTED);

/* The generated structs want char * where they only read. */
static char *lend(const char *text)
{
	return (char *)text;
}

static ProtobufCBinaryData lend_bytes(const uint8_t *bytes, size_t length)
{
	return (ProtobufCBinaryData){.len = length, .data = (uint8_t *)bytes};
}

size_t pf_msg_pack_hello(const struct pf_msg_hello *msg, uint8_t *out, size_t size)
{
	Pageferry__Wire__Hello body = PAGEFERRY__WIRE__HELLO__INIT;

	body.protocol = msg->protocol;
	body.id = lend(msg->id);
	body.channel = msg->channel;
	body.channels = msg->channels;
	body.epoch = msg->epoch;
	body.record = (Pageferry__Wire__Record)msg->record;
	if (msg->has_proof)
		body.proof = lend_bytes(msg->proof, sizeof(msg->proof));
	body.software = lend(msg->software);
	body.features = msg->features;
	return pf_body_pack(&body.base, out, size);
}

size_t pf_msg_pack_welcome(const struct pf_msg_welcome *msg, uint8_t *out, size_t size)
{
	Pageferry__Wire__Welcome body = PAGEFERRY__WIRE__WELCOME__INIT;

	body.protocol = msg->protocol;
	body.epoch = msg->epoch;
	body.record = (Pageferry__Wire__Record)msg->record;
	if (msg->has_proof)
		body.proof = lend_bytes(msg->proof, sizeof(msg->proof));
	body.software = lend(msg->software);
	body.features = msg->features;
	return pf_body_pack(&body.base, out, size);
}

size_t pf_msg_pack_regions(const struct pf_region_table *table, uint8_t *out, size_t size)
{
	Pageferry__Wire__Regions body = PAGEFERRY__WIRE__REGIONS__INIT;
	Pageferry__Wire__Region region[PF_REGIONS_MAX], *list[PF_REGIONS_MAX];

	if (table->count > PF_REGIONS_MAX)
		return 0;
	for (uint32_t i = 0; i < table->count; i++) {
		region[i] = (Pageferry__Wire__Region)PAGEFERRY__WIRE__REGION__INIT;
		region[i].gpa = table->region[i].gpa;
		region[i].size = table->region[i].size;
		region[i].page_size = table->region[i].page_size;
		list[i] = &region[i];
	}
	body.n_region = table->count;
	body.region = list;
	return pf_body_pack(&body.base, out, size);
}

size_t pf_msg_pack_paused(uint64_t device_state_size, uint8_t *out, size_t size)
{
	Pageferry__Wire__Paused body = PAGEFERRY__WIRE__PAUSED__INIT;

	body.device_state_size = device_state_size;
	return pf_body_pack(&body.base, out, size);
}

size_t pf_msg_pack_verdict(const struct pf_msg_verdict *msg, uint8_t *out, size_t size)
{
	Pageferry__Wire__Verdict body = PAGEFERRY__WIRE__VERDICT__INIT;

	body.epoch = msg->epoch;
	body.record = (Pageferry__Wire__Record)msg->record;
	body.reason = lend(msg->reason);
	return pf_body_pack(&body.base, out, size);
}

size_t pf_msg_pack_failure(const char *reason, uint8_t *out, size_t size)
{
	Pageferry__Wire__Failure body = PAGEFERRY__WIRE__FAILURE__INIT;
	char text[PF_REASON_MAX + 1];

	/* An error's text and its prefixes can be longer than what travels. */
	pf_body_text(reason, text, sizeof(text));
	body.reason = text;
	return pf_body_pack(&body.base, out, size);
}

static int check_text(const char *what, const char *text, size_t max, struct pf_err *err)
{
	if (strlen(text) > max)
		return pf_err_set(err, PF_ERR_PROTOCOL, "a %s of %zu bytes; %zu are allowed", what,
				  strlen(text), max);
	return 0;
}

static int check_protocol(uint32_t protocol, struct pf_err *err)
{
	if (protocol == PF_WIRE_PROTOCOL)
		return 0;
	pf_err_set(err, PF_ERR_PROTOCOL,
		   "the peer speaks protocol %" PRIu32 ", this is protocol %u", protocol,
		   PF_WIRE_PROTOCOL);
	return pf_err_hint(err, "run versions of pageferry that speak the same protocol");
}

static int check_features(uint64_t features, struct pf_err *err)
{
	if (!(features & ~PF_WIRE_FEATURES))
		return 0;
	pf_err_set(err, PF_ERR_PROTOCOL,
		   "the peer requires the features 0x%" PRIx64 ", which are unknown here",
		   features & ~PF_WIRE_FEATURES);
	return pf_err_hint(err, "run the newer version of pageferry on both sides");
}

static int check_record(int record, unsigned allowed, const char *whose, struct pf_err *err)
{
	if (record > 0 && record < PF_RECORD_COUNT_ && (allowed & 1u << record))
		return 0;
	return pf_err_set(err, PF_ERR_PROTOCOL, "%d (%s) is not a record of the %s", record,
			  pf_record_name((enum pf_record)record), whose);
}

static const char *id_fault(const char *text)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				      "0123456789._-";
	size_t length = strlen(text);

	if (length == 0)
		return "is empty";
	if (length > PF_ID_MAX)
		return "has more than 64 characters";
	if (strspn(text, allowed) != length)
		return "has a character that is not one of A-Z a-z 0-9 . _ -";
	if (text[0] == '.' || text[0] == '-')
		return "begins with a dot or a dash";
	return NULL;
}

/* The id is quoted in errors, so it is made harmless first; a long one is cut. */
static int check_id(const char *text, enum pf_err_class class, struct pf_err *err)
{
	const char *fault = id_fault(text);
	char shown[PF_ID_MAX + 1];

	if (!fault)
		return 0;
	pf_body_text(text, shown, sizeof(shown));
	return pf_err_set(err, class, "the migration id '%s' %s", shown, fault);
}

int pf_id_check(const char *text, struct pf_err *err)
{
	return check_id(text, PF_ERR_USAGE, err);
}

/* The first connection has no epoch, hence no secret to prove, and nothing may have happened. */
static int check_hello_place(const Pageferry__Wire__Hello *body, struct pf_err *err)
{
	if (body->channels == 0 || body->channels > PF_CHANNELS_MAX)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "a Hello with %" PRIu32 " bulk channels; 1 to %u are allowed",
				  body->channels, PF_CHANNELS_MAX);
	if (body->channel > body->channels)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "a Hello for channel %" PRIu32 " of %" PRIu32, body->channel,
				  body->channels);
	if (body->epoch == 0 && body->channel != 0)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "a Hello without an epoch for bulk channel %" PRIu32,
				  body->channel);
	if (body->epoch == 0 && body->record != PAGEFERRY__WIRE__RECORD__NONE)
		return pf_err_set(err, PF_ERR_PROTOCOL, "a Hello without an epoch and record %s",
				  pf_record_name((enum pf_record)body->record));
	if (body->proof.len != (body->epoch == 0 ? 0 : PF_PROOF_BYTES))
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "a Hello of epoch %" PRIu32 " with a proof of %zu bytes",
				  body->epoch, body->proof.len);
	return 0;
}

int pf_msg_unpack_hello(const uint8_t *in, size_t length, struct pf_msg_hello *out,
			struct pf_err *err)
{
	const unsigned sources = 1u << PF_RECORD_NONE | 1u << PF_RECORD_OFFERED |
				 1u << PF_RECORD_GONE | 1u << PF_RECORD_KEPT;
	pf_auto_body Pageferry__Wire__Hello *body =
		pf_body_unpack(&pageferry__wire__hello__descriptor, in, length, err);

	if (!body || check_protocol(body->protocol, err) || check_features(body->features, err) ||
	    check_id(body->id, PF_ERR_PROTOCOL, err) ||
	    check_text("software name", body->software, PF_SOFTWARE_MAX, err) ||
	    check_record((int)body->record, sources, "source", err) || check_hello_place(body, err))
		return -1;
	*out = (struct pf_msg_hello){
		.protocol = body->protocol,
		.channel = body->channel,
		.channels = body->channels,
		.epoch = body->epoch,
		.record = (enum pf_record)body->record,
		.has_proof = body->proof.len > 0,
		.features = body->features,
	};
	memcpy(out->id, body->id, strlen(body->id));
	if (out->has_proof)
		memcpy(out->proof, body->proof.data, sizeof(out->proof));
	pf_body_text(body->software, out->software, sizeof(out->software));
	return 0;
}

int pf_msg_unpack_welcome(const uint8_t *in, size_t length, struct pf_msg_welcome *out,
			  struct pf_err *err)
{
	const unsigned destinations = 1u << PF_RECORD_NONE | 1u << PF_RECORD_READY |
				      1u << PF_RECORD_RUN | 1u << PF_RECORD_REFUSED |
				      1u << PF_RECORD_ABORTED;
	pf_auto_body Pageferry__Wire__Welcome *body =
		pf_body_unpack(&pageferry__wire__welcome__descriptor, in, length, err);

	if (!body || check_protocol(body->protocol, err) || check_features(body->features, err) ||
	    check_text("software name", body->software, PF_SOFTWARE_MAX, err) ||
	    check_record((int)body->record, destinations, "destination", err))
		return -1;
	if (body->proof.len != (body->epoch == 0 ? 0 : PF_PROOF_BYTES))
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "a Welcome of epoch %" PRIu32 " with a proof of %zu bytes",
				  body->epoch, body->proof.len);
	*out = (struct pf_msg_welcome){
		.protocol = body->protocol,
		.epoch = body->epoch,
		.record = (enum pf_record)body->record,
		.has_proof = body->proof.len > 0,
		.features = body->features,
	};
	if (out->has_proof)
		memcpy(out->proof, body->proof.data, sizeof(out->proof));
	pf_body_text(body->software, out->software, sizeof(out->software));
	return 0;
}

int pf_msg_unpack_regions(const uint8_t *in, size_t length, struct pf_region_table *out,
			  struct pf_err *err)
{
	pf_auto_body Pageferry__Wire__Regions *body =
		pf_body_unpack(&pageferry__wire__regions__descriptor, in, length, err);
	struct pf_region_table table = {0};

	if (!body)
		return -1;
	if (body->n_region > PF_REGIONS_MAX)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "a region table of %zu regions; 1 to %d are allowed",
				  body->n_region, PF_REGIONS_MAX);
	table.count = (uint32_t)body->n_region;
	for (uint32_t i = 0; i < table.count; i++)
		table.region[i] = (struct pf_region_shape){
			.gpa = body->region[i]->gpa,
			.size = body->region[i]->size,
			.page_size = body->region[i]->page_size,
		};
	if (pf_table_check(&table, err))
		return -1;
	*out = table;
	return 0;
}

int pf_msg_unpack_paused(const uint8_t *in, size_t length, uint64_t *out_size, struct pf_err *err)
{
	pf_auto_body Pageferry__Wire__Paused *body =
		pf_body_unpack(&pageferry__wire__paused__descriptor, in, length, err);

	if (!body)
		return -1;
	*out_size = body->device_state_size;
	return 0;
}

int pf_msg_unpack_verdict(const uint8_t *in, size_t length, struct pf_msg_verdict *out,
			  struct pf_err *err)
{
	pf_auto_body Pageferry__Wire__Verdict *body =
		pf_body_unpack(&pageferry__wire__verdict__descriptor, in, length, err);

	if (!body || check_record((int)body->record, ~0u, "protocol", err) ||
	    check_text("reason", body->reason, PF_REASON_MAX, err))
		return -1;
	if (body->epoch == 0)
		return pf_err_set(err, PF_ERR_PROTOCOL, "a Verdict without an epoch");
	*out = (struct pf_msg_verdict){
		.epoch = body->epoch,
		.record = (enum pf_record)body->record,
	};
	pf_body_text(body->reason, out->reason, sizeof(out->reason));
	return 0;
}

int pf_msg_unpack_failure(const uint8_t *in, size_t length, char out_reason[PF_REASON_MAX + 1],
			  struct pf_err *err)
{
	pf_auto_body Pageferry__Wire__Failure *body =
		pf_body_unpack(&pageferry__wire__failure__descriptor, in, length, err);

	if (!body || check_text("reason", body->reason, PF_REASON_MAX, err))
		return -1;
	pf_body_text(body->reason, out_reason, PF_REASON_MAX + 1);
	return 0;
}
