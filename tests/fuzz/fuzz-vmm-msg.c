/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/fuzz/fuzz-vmm-msg.c - any bytes as a message on the VMM socket, either way.
 *
 * Input: a byte (bit 0: from the agent), a byte with the number of descriptors, then the message.
 * What is accepted must name only descriptors that came, keep its limits, and pack, unpack and pack
 * to the same bytes.  A mutated message is seldom in its shortest form, so what decodes at all is
 * tried in that form too: otherwise hardly anything would come as far as the checks.
 */
#include <stdint.h>
#include <string.h>

#include "base/unixsock.h"
#include "proto/vmm.pb-c.h"
#include "tests/fuzz/fuzz.h"
#include "wire/vmm_msg.h"

static struct pf_vmm_message msg, back;
static uint8_t once[PF_VMM_MESSAGE_MAX], twice[PF_VMM_MESSAGE_MAX];

static void check_region(const struct pf_vmm_regions *regions, uint32_t index, size_t fds)
{
	const struct pf_vmm_region *region = &regions->region[index];
	uint64_t pages = pf_region_pages(&region->shape);

	FUZZ_ASSERT(region->fd < fds || region->fd == PF_VMM_NO_FD);
	FUZZ_ASSERT((region->fd == PF_VMM_NO_FD) == (region->kind == PF_MEMORY_PRIVATE));
	FUZZ_ASSERT(region->bitmap_fd < fds || region->bitmap_fd == PF_VMM_NO_FD);
	FUZZ_ASSERT(region->offset + region->shape.size <= INT64_MAX);
	FUZZ_ASSERT(region->mapping_count <= PF_VMM_MAPPINGS_MAX);
	for (uint32_t i = 0; i < region->mapping_count; i++) {
		FUZZ_ASSERT(region->mapping[i].uffd < fds && region->mapping[i].base > 0);
		FUZZ_ASSERT(region->mapping[i].base + region->shape.size > region->mapping[i].base);
	}
	FUZZ_ASSERT(region->populated_first + region->populated_count <= regions->range_count);
	for (uint32_t i = 0; i < region->populated_count; i++) {
		const struct pf_run *run = &regions->range[region->populated_first + i];

		FUZZ_ASSERT(run->region == index && run->count > 0);
		FUZZ_ASSERT((__uint128_t)run->first + run->count <= pages);
	}
}

static void check_promises(size_t fds)
{
	switch (msg.type) {
	case PF_VMM_HELLO:
		FUZZ_ASSERT(msg.hello.vcpu_count <= PF_VMM_VCPUS_MAX);
		break;
	case PF_VMM_REGIONS:
		FUZZ_ASSERT(!msg.regions.has_fault_socket || msg.regions.fault_socket < fds);
		FUZZ_ASSERT(msg.regions.count > 0 && msg.regions.count <= PF_REGIONS_MAX);
		FUZZ_ASSERT(msg.regions.range_count <= PF_VMM_RANGES_MAX);
		for (uint32_t i = 0; i < msg.regions.count; i++)
			check_region(&msg.regions, i, fds);
		break;
	case PF_VMM_PAUSED:
	case PF_VMM_LOAD:
		FUZZ_ASSERT(msg.state.fd < fds);
		break;
	case PF_VMM_RESUME_REFUSED:
	case PF_VMM_ERROR:
		FUZZ_ASSERT(strlen(msg.reason) <= PF_VMM_REASON_MAX);
		break;
	default:
		FUZZ_ASSERT(strcmp(pf_vmm_type_name(msg.type), "?") != 0);
		break;
	}
}

/* The short way and the long way must judge alike, but for what the short way never takes. */
static void try_fault(const uint8_t *data, size_t size, enum pf_vmm_type type)
{
	uint8_t packed[PF_VMM_FAULT_BYTES];
	struct pf_vmm_fault fault;
	struct pf_err err = {0}, other = {0};
	bool same = pf_vmm_msg_unpack(data, size, type >= PF_VMM_PAUSE, 0, &back, &other) == 0 &&
		    back.type == type;

	if (pf_vmm_fault_unpack(data, size, type, &fault, &err)) {
		FUZZ_ASSERT(err.class == PF_ERR_PROTOCOL && err.text[0] && !same);
		return;
	}
	FUZZ_ASSERT(same && back.fault.vcpu == fault.vcpu && back.fault.gpa == fault.gpa);
	FUZZ_ASSERT(fault.vcpu < PF_VMM_VCPUS_MAX);
	FUZZ_ASSERT(pf_vmm_fault_pack(type, &fault, packed) == size &&
		    memcmp(packed, data, size) == 0);
}

static void try_message(const uint8_t *data, size_t size, bool from_agent, size_t fds)
{
	struct pf_err err = {0};
	size_t length;

	try_fault(data, size, from_agent ? PF_VMM_RESOLVED : PF_VMM_FAULT);
	if (pf_vmm_msg_unpack(data, size, from_agent, fds, &msg, &err)) {
		FUZZ_ASSERT(err.class == PF_ERR_PROTOCOL && err.text[0]);
		return;
	}
	check_promises(fds);
	length = pf_vmm_msg_pack(&msg, once);
	FUZZ_ASSERT(length > 0);
	FUZZ_ASSERT(pf_vmm_msg_unpack(once, length, from_agent, fds, &back, &err) == 0);
	FUZZ_ASSERT(pf_vmm_msg_pack(&back, twice) == length && memcmp(once, twice, length) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t shortest[PF_VMM_MESSAGE_MAX];
	ProtobufCMessage *message;
	bool from_agent;
	size_t fds;

	if (size < 2 || size > 2 + PF_VMM_MESSAGE_MAX)
		return 0;
	from_agent = data[0] & 1;
	fds = data[1] % (PF_UNIX_FDS_MAX + 1);
	try_message(data + 2, size - 2, from_agent, fds);
	message = protobuf_c_message_unpack(&pageferry__vmm__envelope__descriptor, NULL, size - 2,
					    data + 2);
	if (!message)
		return 0;
	if (protobuf_c_message_get_packed_size(message) <= sizeof(shortest))
		try_message(shortest, protobuf_c_message_pack(message, shortest), from_agent, fds);
	protobuf_c_message_free_unpacked(message, NULL);
	return 0;
}
