/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * wire/vmm_msg.h - the native dialect's messages (proto/vmm.proto) as checked C structs.
 *
 * Used by the agent and by libpageferry-vmm.  The only place that knows the generated types of
 * vmm.proto.  Descriptors appear as indices into the array that came with the message; decoding
 * checks that each index is within it.  No I/O; any thread; nothing outlives the call.
 */
#ifndef PF_WIRE_VMM_MSG_H
#define PF_WIRE_VMM_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/page.h"

#define PF_VMM_VERSION 1u
#define PF_VMM_MESSAGE_MAX (64u * 1024)
#define PF_VMM_VCPUS_MAX 1024u
#define PF_VMM_MAPPINGS_MAX 4u
#define PF_VMM_RANGES_MAX PF_POPULATED_RANGES_MAX
#define PF_VMM_REASON_MAX 256u
#define PF_VMM_OWED_MAX 1024u

enum pf_vmm_type { /* the field numbers of Envelope */
	PF_VMM_HELLO = 1,
	PF_VMM_REGIONS = 2,
	PF_VMM_PAUSED = 3,
	PF_VMM_READY = 4,
	PF_VMM_RESUMED = 5,
	PF_VMM_RESUME_REFUSED = 6,
	PF_VMM_FAULT = 7,
	PF_VMM_PAUSE = 16,
	PF_VMM_LOAD = 17,
	PF_VMM_RESUME = 18,
	PF_VMM_CONTINUE_SOURCE = 19,
	PF_VMM_RESOLVED = 20,
	PF_VMM_COMPLETE = 21,
	PF_VMM_RELEASE = 22,
	PF_VMM_ERROR = 23,
	PF_VMM_REGIONS_ACCEPTED = 24,
	PF_VMM_ATTACH = 25,
};

#define PF_VMM_NO_FD UINT32_MAX

struct pf_vmm_region {
	uint32_t id;
	struct pf_region_shape shape;
	enum pf_memory_kind kind;
	uint32_t fd; /* index, or PF_VMM_NO_FD (PRIVATE only) */
	uint64_t offset;
	uint32_t mapping_count; /* source: 0; destination: 1..PF_VMM_MAPPINGS_MAX */
	struct {
		uint32_t uffd; /* index */
		uint64_t base;
	} mapping[PF_VMM_MAPPINGS_MAX];
	uint32_t bitmap_fd; /* index, or PF_VMM_NO_FD */
	enum pf_populated populated;
	uint32_t populated_first, populated_count; /* into pf_vmm_regions.range */
	bool discards, fill_atomic, machine_checks;
};

struct pf_vmm_regions {
	uint32_t count;
	struct pf_vmm_region region[PF_REGIONS_MAX]; /* as sent; the receiver sorts by GPA */
	uint32_t range_count;
	struct pf_run range[PF_VMM_RANGES_MAX]; /* .region: index in region[] */
	bool no_other_mappings;
	bool has_fault_socket;
	uint32_t fault_socket; /* index */
};

enum pf_vmm_stage { /* as in vmm.proto */
	PF_VMM_FRESH = 0,
	PF_VMM_STANDS = 1,
	PF_VMM_ACCEPTED = 2,
	PF_VMM_LOADED = 3,
	PF_VMM_RESUMING = 4,
	PF_VMM_RUNS = 5,
	PF_VMM_REFUSED = 6,
};

struct pf_vmm_hello {
	uint32_t version;
	enum pf_vmm_stage stage;
	uint32_t owed; /* PAUSEs or LOADs that are not answered yet */
	uint32_t attach; /* of the ATTACH that it answers; 0: of none */
	bool destination; /* the VMM's role */
	uint32_t vcpu_count;
	uint32_t vcpu_tid[PF_VMM_VCPUS_MAX];
};

struct pf_vmm_fault {
	uint32_t vcpu;
	uint64_t gpa;
	bool lost; /* RESOLVED */
};

struct pf_vmm_message {
	enum pf_vmm_type type;
	union {
		struct pf_vmm_hello hello;
		struct pf_vmm_regions regions;
		struct {
			uint32_t fd; /* index */
			uint64_t size;
		} state; /* PAUSED, LOAD */
		uint32_t attach; /* ATTACH: not 0 */
		struct pf_vmm_fault fault;		/* FAULT, RESOLVED */
		char reason[PF_VMM_REASON_MAX + 1];	/* RESUME_REFUSED, ERROR */
	};
};

/* Packs into out (PF_VMM_MESSAGE_MAX bytes); the length, or 0 if it would be longer. */
size_t pf_vmm_msg_pack(const struct pf_vmm_message *msg, uint8_t *out);
/*
 * from_agent: which half of the message types is acceptable.  fd_count: descriptors that came with
 * it.  Checks types, roles, enums, counts, indices, each region's shape (through the same rules as
 * pf_table_check() but without order), mapping bases and lengths.  PF_ERR_PROTOCOL.
 */
PF_MUST_USE int pf_vmm_msg_unpack(const uint8_t *in, size_t length, bool from_agent,
				  size_t fd_count, struct pf_vmm_message *out, struct pf_err *err);
/*
 * What travels on the fault socket: the same messages, without what the others need, since a vCPU
 * waits.  The length, at most PF_VMM_FAULT_BYTES, and never 0 for FAULT and RESOLVED.
 */
#define PF_VMM_FAULT_BYTES 32u
size_t pf_vmm_fault_pack(enum pf_vmm_type type, const struct pf_vmm_fault *fault,
			 uint8_t out[PF_VMM_FAULT_BYTES]);
/* type: the only one that may come.  PF_ERR_PROTOCOL. */
PF_MUST_USE int pf_vmm_fault_unpack(const uint8_t *in, size_t length, enum pf_vmm_type type,
				    struct pf_vmm_fault *out, struct pf_err *err);
const char *pf_vmm_type_name(enum pf_vmm_type type);

#endif
