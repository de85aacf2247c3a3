/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/test-vmm-msg.c - messages on the VMM socket: golden bytes, and what must be refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "tests/unit/vectors.h"
#include "wire/vmm_msg.h"

#define MIB (UINT64_C(1) << 20)
#define K4 4096u
#define M2 (2u << 20)

static uint8_t bytes[PF_VMM_MESSAGE_MAX];

static size_t golden(const char *name, uint8_t *out, size_t size)
{
	const struct vector *vector = vector_find(vmm_vectors, name);
	size_t length;

	assert_non_null(vector);
	assert_true(vector_bytes(vector->hex, out, size, &length));
	return length;
}

/* Packs to the golden bytes, which unpack to what packs to them again. */
static void assert_golden(const char *name, const struct pf_vmm_message *msg, size_t fds)
{
	static struct pf_vmm_message back;
	uint8_t want[1024];
	size_t want_length = golden(name, want, sizeof(want));
	size_t length = pf_vmm_msg_pack(msg, bytes);
	struct pf_err err = {0};

	if (length != want_length || memcmp(bytes, want, length) != 0)
		fail_msg("%s differs from its golden bytes", name);
	if (pf_vmm_msg_unpack(want, length, msg->type >= PF_VMM_PAUSE, fds, &back, &err))
		fail_msg("%s: %s", name, err.text);
	assert_int_equal(back.type, msg->type);
	assert_int_equal(pf_vmm_msg_pack(&back, bytes), length);
	assert_memory_equal(bytes, want, length);
}

static void messages_without_a_body_have_their_golden_bytes(void **state)
{
	static const struct {
		const char *name;
		enum pf_vmm_type type;
	} list[] = {
		{"ready", PF_VMM_READY},
		{"resumed", PF_VMM_RESUMED},
		{"pause", PF_VMM_PAUSE},
		{"resume", PF_VMM_RESUME},
		{"continue-source", PF_VMM_CONTINUE_SOURCE},
		{"complete", PF_VMM_COMPLETE},
		{"release", PF_VMM_RELEASE},
		{"regions-accepted", PF_VMM_REGIONS_ACCEPTED},
	};

	(void)state;
	for (size_t i = 0; i < PF_ARRAY_LEN(list); i++)
		assert_golden(list[i].name, &(struct pf_vmm_message){.type = list[i].type}, 0);
}

static void messages_with_a_body_have_their_golden_bytes(void **state)
{
	(void)state;
	assert_golden("hello-source",
		      &(struct pf_vmm_message){
			      .type = PF_VMM_HELLO,
			      .hello = {.version = 1, .vcpu_count = 2, .vcpu_tid = {1001, 1002}}},
		      0);
	assert_golden("hello-destination",
		      &(struct pf_vmm_message){.type = PF_VMM_HELLO,
					       .hello = {.version = 1, .destination = true}},
		      0);
	assert_golden("paused",
		      &(struct pf_vmm_message){.type = PF_VMM_PAUSED, .state = {0, 100000}}, 1);
	assert_golden("load", &(struct pf_vmm_message){.type = PF_VMM_LOAD, .state = {0, 100000}},
		      1);
	assert_golden("fault",
		      &(struct pf_vmm_message){.type = PF_VMM_FAULT, .fault = {1, 0x123456, false}}, 0);
	assert_golden("resolved",
		      &(struct pf_vmm_message){.type = PF_VMM_RESOLVED,
					       .fault = {1023, UINT64_MAX - 4095, false}},
		      0);
	assert_golden("resume-refused",
		      &(struct pf_vmm_message){.type = PF_VMM_RESUME_REFUSED,
					       .reason = "KVM_RUN: Invalid argument"},
		      0);
	assert_golden("error",
		      &(struct pf_vmm_message){.type = PF_VMM_ERROR,
					       .reason = "cancelled; the guest is at the source"},
		      0);
}

/* On the fault socket they are the same bytes, judged by the same rules. */
static void a_fault_has_its_golden_bytes_on_its_own_socket_too(void **state)
{
	const struct pf_vmm_fault fault = {1, 0x123456, false},
				 resolved = {1023, UINT64_MAX - 4095, false};
	struct pf_vmm_fault back;
	struct pf_err err = {0};
	uint8_t want[64];
	size_t length = golden("fault", want, sizeof(want));

	(void)state;
	assert_int_equal(pf_vmm_fault_pack(PF_VMM_FAULT, &fault, bytes), length);
	assert_memory_equal(bytes, want, length);
	assert_int_equal(pf_vmm_fault_unpack(want, length, PF_VMM_FAULT, &back, &err), 0);
	assert_int_equal(back.vcpu, 1);
	assert_int_equal(back.gpa, 0x123456);
	length = golden("resolved", want, sizeof(want));
	assert_int_equal(pf_vmm_fault_pack(PF_VMM_RESOLVED, &resolved, bytes), length);
	assert_memory_equal(bytes, want, length);
	assert_int_equal(pf_vmm_fault_unpack(want, length, PF_VMM_RESOLVED, &back, &err), 0);
	assert_int_equal(back.gpa, UINT64_MAX - 4095);
	assert_false(back.lost);
}

static void an_answer_can_say_that_the_page_is_lost(void **state)
{
	const struct pf_vmm_fault lost = {.vcpu = 5, .gpa = 0x7000, .lost = true};
	struct pf_vmm_fault back;
	struct pf_err err = {0};
	size_t length = pf_vmm_fault_pack(PF_VMM_RESOLVED, &lost, bytes);

	(void)state;
	assert_int_equal(pf_vmm_fault_unpack(bytes, length, PF_VMM_RESOLVED, &back, &err), 0);
	assert_true(back.lost);
	assert_int_equal(back.vcpu, 5);
	assert_int_equal(back.gpa, 0x7000);
}

static void the_longest_fault_fits(void **state)
{
	const struct pf_vmm_fault longest = {UINT32_MAX, UINT64_MAX, true};

	(void)state;
	assert_in_range(pf_vmm_fault_pack(PF_VMM_RESOLVED, &longest, bytes), 1, PF_VMM_FAULT_BYTES);
}

static void assert_fault_refused(const char *hex, const char *text)
{
	struct pf_vmm_fault out;
	struct pf_err err = {0};
	size_t length;

	assert_true(vector_bytes(hex, bytes, sizeof(bytes), &length));
	if (pf_vmm_fault_unpack(bytes, length, PF_VMM_FAULT, &out, &err) != -1)
		fail_msg("accepted: %s", text);
	assert_string_equal(err.text, text);
	assert_int_equal(err.class, PF_ERR_PROTOCOL);
}

static void what_is_no_fault_is_refused_on_the_fault_socket(void **state)
{
	(void)state;
	assert_fault_refused("", "a message of 0 bytes on the fault socket; 1 to 32 are allowed");
	assert_fault_refused("2200", "a READY message on the fault socket");
	assert_fault_refused("a20100", "a RESOLVED message on the fault socket");
	assert_fault_refused("ff", "the Envelope body of 1 bytes does not decode");
	assert_fault_refused("3a021801", "a FAULT message that says that its page is lost");
	assert_fault_refused("3a03088008", "a FAULT message for vCPU 1024");
	assert_fault_refused("3a00 3a00", "the Envelope body of 4 bytes is not in its shortest "
					  "form, or names a field twice");
	assert_fault_refused("3a00 4200", "the Envelope body of 4 bytes has a field that this "
					  "version does not know");
	assert_fault_refused("0000000000000000000000000000000000000000000000000000000000000000 00",
			     "a message of 33 bytes on the fault socket; 1 to 32 are allowed");
}

/* 16 fields that nobody knows: more than a fault's room holds. */
static void a_body_that_needs_more_room_than_a_fault_is_refused(void **state)
{
	(void)state;
	assert_fault_refused("4201004201004201004201004201004201004201004201004201004201004200",
			     "the Envelope body of 32 bytes does not decode");
}

static struct pf_vmm_region memfd_region(uint32_t id, uint64_t gpa, uint64_t size)
{
	return (struct pf_vmm_region){
		.id = id,
		.shape = {gpa, size, K4},
		.kind = PF_MEMORY_MEMFD,
		.bitmap_fd = PF_VMM_NO_FD,
		.populated = PF_POPULATED_NONE,
	};
}

static struct pf_vmm_region mapped(struct pf_vmm_region region, uint32_t uffd, uint64_t base)
{
	region.mapping[region.mapping_count].uffd = uffd;
	region.mapping[region.mapping_count++].base = base;
	return region;
}

/* Two regions in one file, sent in the order that the VMM likes. */
static struct pf_vmm_message destination_regions(void)
{
	struct pf_vmm_message msg = {.type = PF_VMM_REGIONS,
				     .regions = {.count = 2, .no_other_mappings = true}};
	struct pf_vmm_regions *regions = &msg.regions;

	regions->region[0] = mapped(memfd_region(2, 4096 * MIB, 8 * MIB), 1, 0x7f0001000000);
	regions->region[0].offset = 16 * MIB;
	regions->region[0].discards = true;
	regions->region[1] = mapped(memfd_region(1, 0, 16 * MIB), 1, 0x7f0000000000);
	return msg;
}

static struct pf_vmm_message regions_of_all_kinds(void)
{
	struct pf_vmm_message msg = {.type = PF_VMM_REGIONS, .regions = {.count = 3}};
	struct pf_vmm_region *region = msg.regions.region;

	region[0] = mapped(mapped(memfd_region(7, 0, 65536), 1, 0x10000), 2, 0x10000);
	region[0].kind = PF_MEMORY_GUEST_MEMFD;
	region[0].bitmap_fd = 3;
	region[0].populated = PF_POPULATED_LIST;
	region[0].populated_count = 2;
	region[0].fill_atomic = region[0].machine_checks = true;
	region[1] = mapped(memfd_region(8, 2 * MIB, 4 * MIB), 1, 2 * MIB);
	region[1].shape.page_size = M2;
	region[1].kind = PF_MEMORY_HUGETLBFS;
	region[1].fd = 4;
	region[1].offset = 2 * MIB;
	region[1].populated = PF_POPULATED_PREALLOCATED;
	region[1].populated_first = 2; /* an empty list is where it would begin */
	region[2] = mapped(memfd_region(9, MIB, K4), 2, MIB);
	region[2].kind = PF_MEMORY_PRIVATE;
	region[2].fd = PF_VMM_NO_FD;
	region[2].populated = PF_POPULATED_LIST;
	region[2].populated_first = 2;
	region[2].populated_count = 1;
	msg.regions.has_fault_socket = true;
	msg.regions.fault_socket = 4;
	msg.regions.range_count = 3;
	msg.regions.range[0] = (struct pf_run){0, 1, 0};
	msg.regions.range[1] = (struct pf_run){0, 2, 14};
	msg.regions.range[2] = (struct pf_run){2, 1, 0};
	return msg;
}

static void regions_have_their_golden_bytes(void **state)
{
	struct pf_vmm_message source = {.type = PF_VMM_REGIONS,
					.regions = {.count = 1, .no_other_mappings = true}};
	struct pf_vmm_message destination = destination_regions(), all = regions_of_all_kinds();

	(void)state;
	source.regions.region[0] = memfd_region(1, 0, 16 * MIB);
	assert_golden("regions-source", &source, 1);
	assert_golden("regions-destination", &destination, 2);
	assert_golden("regions-all-kinds", &all, 5);
}

static void regions_come_back_whole(void **state)
{
	struct pf_vmm_message msg = regions_of_all_kinds(), back;
	struct pf_err err = {0};

	(void)state;
	assert_int_equal(
		pf_vmm_msg_unpack(bytes, pf_vmm_msg_pack(&msg, bytes), false, 5, &back, &err), 0);
	assert_int_equal(back.regions.count, 3);
	assert_int_equal(back.regions.range_count, 3);
	assert_false(back.regions.no_other_mappings);
	assert_true(back.regions.has_fault_socket);
	assert_int_equal(back.regions.fault_socket, 4);
	assert_memory_equal(back.regions.range, msg.regions.range, 3 * sizeof(struct pf_run));
	for (unsigned i = 0; i < 3; i++) {
		const struct pf_vmm_region *a = &msg.regions.region[i],
					   *b = &back.regions.region[i];

		assert_int_equal(a->id, b->id);
		assert_int_equal(a->shape.gpa, b->shape.gpa);
		assert_int_equal(a->shape.size, b->shape.size);
		assert_int_equal(a->shape.page_size, b->shape.page_size);
		assert_int_equal(a->kind, b->kind);
		assert_int_equal(a->fd, b->fd);
		assert_int_equal(a->offset, b->offset);
		assert_int_equal(a->mapping_count, b->mapping_count);
		assert_int_equal(a->mapping[0].base, b->mapping[0].base);
		assert_int_equal(a->mapping[1].uffd, b->mapping[1].uffd);
		assert_int_equal(a->bitmap_fd, b->bitmap_fd);
		assert_int_equal(a->populated, b->populated);
		assert_int_equal(a->populated_first, b->populated_first);
		assert_int_equal(a->populated_count, b->populated_count);
		assert_int_equal(a->discards, b->discards);
		assert_int_equal(a->fill_atomic, b->fill_atomic);
		assert_int_equal(a->machine_checks, b->machine_checks);
	}
}

/* How one field of a good REGIONS message is spoilt, and what the refusal says. */
static void assert_regions_refused(struct pf_vmm_message msg, const char *text)
{
	struct pf_vmm_message out;
	struct pf_err err = {0};
	size_t length = pf_vmm_msg_pack(&msg, bytes);

	assert_true(length > 0);
	if (pf_vmm_msg_unpack(bytes, length, false, 5, &out, &err) != -1)
		fail_msg("accepted: %s", text);
	assert_string_equal(err.text, text);
	assert_int_equal(err.class, PF_ERR_PROTOCOL);
}

#define BAD(change, text)                                                                          \
	do {                                                                                       \
		struct pf_vmm_message msg = regions_of_all_kinds();                                \
		struct pf_vmm_region *r = msg.regions.region;                                      \
		change;                                                                            \
		assert_regions_refused(msg, text);                                                 \
		(void)r;                                                                           \
	} while (0)
#define IN_ORDER "the VMM's regions, in the order of their GPAs: "
#define ID7 "region with id 7 (GPA 0x0): "
#define ID9 "region with id 9 (GPA 0x100000): "

static void bad_shapes_are_refused_with_their_reason(void **state)
{
	(void)state;
	BAD(msg.regions.count = 0, "a table of 0 regions; 1 to 64 are allowed");
	BAD(r[0].shape.page_size = 8192, IN_ORDER "region 0 (GPA 0x0, 65536 bytes, pages of 8192): "
						  "its page size is neither 4096 nor 2097152");
	BAD(r[0].shape.size = 0, IN_ORDER "region 0 (GPA 0x0, 0 bytes, pages of 4096): "
					  "its size is not a positive multiple of its page size");
	BAD(r[1].shape.gpa = 4096, IN_ORDER "region 1 (GPA 0x1000, 4194304 bytes, pages of "
					    "2097152): its GPA is not a multiple of its page size");
	BAD(r[0].shape.size = 2 * MIB,
	    IN_ORDER "region 1 (GPA 0x100000, 4096 bytes, pages of "
		     "4096): it overlaps the region before it, or the table is "
		     "not sorted by GPA");
	BAD(r[1].shape.gpa = UINT64_MAX - 2 * MIB + 1,
	    IN_ORDER "region 2 (GPA 0xffffffffffe00000, 4194304 bytes, pages of 2097152): "
		     "it wraps around the end of the address space");
}

static void bad_files_are_refused_with_their_reason(void **state)
{
	(void)state;
	BAD(r[0].kind = 0, ID7 "its kind is unknown");
	BAD(r[0].kind = 5, ID7 "its kind is unknown");
	BAD(r[0].kind = PF_MEMORY_PRIVATE,
	    ID7 "a memory file comes with every kind but PRIVATE, and only then");
	BAD(r[2].kind = PF_MEMORY_MEMFD,
	    ID9 "a memory file comes with every kind but PRIVATE, and only then");
	BAD(r[0].fd = 5, ID7 "its memory file is not among the descriptors");
	BAD(r[0].bitmap_fd = 5, ID7 "its bitmap is not among the descriptors");
	BAD((msg.regions.has_fault_socket = true, msg.regions.fault_socket = 5),
	    "the fault socket is not among the descriptors");
	BAD(r[2].offset = 4096, ID9 "it has an offset, but no memory file");
	BAD(r[0].offset = 100, ID7 "its offset is not a multiple of its page size");
	BAD(r[0].offset = UINT64_MAX - 4095, ID7 "it ends beyond what a file can hold");
	BAD(r[0].offset = INT64_MAX - 4095, ID7 "it ends beyond what a file can hold");
	BAD((r[1].fd = 0, r[1].offset = 0),
	    "regions with ids 7 and 8 share bytes of a memory file");
}

static void bad_mappings_are_refused_with_their_reason(void **state)
{
	(void)state;
	BAD(r[0].mapping[1].uffd = 5, ID7 "a mapping's userfaultfd is not among the descriptors");
	BAD(r[0].mapping[0].base = 0,
	    ID7 "a mapping's base is 0 or not a multiple of the page size");
	BAD(r[0].mapping[0].base = 1,
	    ID7 "a mapping's base is 0 or not a multiple of the page size");
	BAD(r[0].mapping[0].base = UINT64_MAX - 4095,
	    ID7 "a mapping wraps around the end of the address space");
	BAD(r[0].mapping[1].uffd = 1, "regions with ids 7 and 7 have mappings that overlap");
	BAD(r[2].mapping[0].base = 0x1f000, "regions with ids 7 and 9 have mappings that overlap");
	BAD(r[2].mapping_count = 0, "regions with ids 7 and 9: one has mappings, one has none");
}

static void bad_populated_lists_are_refused_with_their_reason(void **state)
{
	(void)state;
	BAD(r[0].populated = 0, ID7 "`populated` is unknown");
	BAD(r[0].populated = 4, ID7 "`populated` is unknown");
	BAD(r[0].populated = PF_POPULATED_NONE,
	    ID7 "a list of populated pages comes with LIST, and only then");
	BAD(r[0].populated_count = 0,
	    ID7 "a list of populated pages comes with LIST, and only then");
	BAD(msg.regions.range[0].count = 0, ID7 "a populated range is empty or leaves the region");
	BAD(msg.regions.range[0].first = 16, ID7 "a populated range is empty or leaves the region");
	BAD(msg.regions.range[1].count = 3, ID7 "a populated range is empty or leaves the region");
}

static void the_populated_lists_together_are_limited(void **state)
{
	struct pf_vmm_message msg = regions_of_all_kinds(), out;
	struct pf_err err = {0};

	(void)state;
	msg.regions.range_count = PF_VMM_RANGES_MAX;
	for (unsigned i = 0; i < PF_VMM_RANGES_MAX; i++)
		msg.regions.range[i] = (struct pf_run){0, 1, 0};
	msg.regions.region[0].populated_count = PF_VMM_RANGES_MAX;
	assert_regions_refused(msg, "more than 256 populated ranges in all regions together");
	msg.regions.region[0].populated_count = PF_VMM_RANGES_MAX - 1;
	assert_int_equal(
		pf_vmm_msg_unpack(bytes, pf_vmm_msg_pack(&msg, bytes), false, 5, &out, &err), 0);
	assert_int_equal(out.regions.range_count, PF_VMM_RANGES_MAX);
}

/* We cannot pack five mappings.  Envelope{Regions{Region{size 4096, page_size 4096, MEMFD, has_fd,
 * mapping{address 4096} x 4, mapping{}, POPULATED_NONE}}} */
static void a_fifth_mapping_is_refused(void **state)
{
	const char *hex = "1224 0a22 188020 208020 2801 3001"
			  "4a03108020 4a03108020 4a03108020 4a03108020 4a00 6001";
	struct pf_vmm_message out;
	struct pf_err err = {0};
	size_t length;

	(void)state;
	assert_true(vector_bytes(hex, bytes, sizeof(bytes), &length));
	assert_int_equal(pf_vmm_msg_unpack(bytes, length, false, 5, &out, &err), -1);
	assert_string_equal(err.text, "region with id 0 (GPA 0x0): it has more than 4 mappings");
}

static void assert_refused(const char *hex, bool from_agent, size_t fds, const char *text)
{
	struct pf_vmm_message out;
	struct pf_err err = {0};
	size_t length;

	assert_true(vector_bytes(hex, bytes, sizeof(bytes), &length));
	if (pf_vmm_msg_unpack(bytes, length, from_agent, fds, &out, &err) != -1)
		fail_msg("accepted: %s", text);
	assert_string_equal(err.text, text);
}

static void bad_messages_are_refused_with_their_reason(void **state)
{
	(void)state;
	assert_refused("", false, 0, "an empty message");
	assert_refused("ff", false, 0, "the Envelope body of 1 bytes does not decode");
	assert_refused("4200", false, 0,
		       "the Envelope body of 2 bytes has a field that this version does not know");
	assert_refused("2200 2200", false, 0,
		       "the Envelope body of 4 bytes is not in its shortest "
		       "form, or names a field twice");
	assert_refused("2200", true, 0, "a READY message from the agent");
	assert_refused("820100", false, 0, "a PAUSE message from the VMM");
	assert_refused("2200", false, 1, "a READY message with 1 descriptors instead of 0");
	assert_refused("1a00", false, 0, "a PAUSED message with 0 descriptors instead of 1");
	assert_refused("1a00", false, 2, "a PAUSED message with 2 descriptors instead of 1");
	assert_refused("1a020801", false, 1, "a PAUSED message with descriptor 1 of 1");
	assert_refused("8a0100", true, 0, "a LOAD message with 0 descriptors instead of 1");
	assert_refused("0a021001", false, 0, "the VMM speaks version 0, this agent version 1");
	assert_refused("0a0408021001", false, 0, "the VMM speaks version 2, this agent version 1");
	assert_refused("0a020801", false, 0, "a HELLO with the unknown role 0");
	assert_refused("0a0408011003", false, 0, "a HELLO with the unknown role 3");
	assert_refused("0a07080110011a0100", false, 0, "a HELLO with the thread id 0 for vCPU 0");
	assert_refused("3a03088008", false, 0, "a FAULT message for vCPU 1024");
	assert_refused("a20103088008", true, 0, "a RESOLVED message for vCPU 1024");
}

/* Whoever says RESUME_REFUSED gives the guest back: it is not lost for a reason of one byte too many. */
static void a_reason_too_long_is_cut(void **state)
{
	struct pf_vmm_message out;
	struct pf_err err = {0};
	/* ResumeRefused{reason: 257 bytes} */
	const uint8_t head[] = {0x32, 0x84, 0x02, 0x0a, 0x81, 0x02};

	(void)state;
	memcpy(bytes, head, sizeof(head));
	memset(bytes + sizeof(head), 'r', 257);
	assert_int_equal(pf_vmm_msg_unpack(bytes, sizeof(head) + 257, false, 0, &out, &err), 0);
	assert_int_equal(out.type, PF_VMM_RESUME_REFUSED);
	assert_int_equal(strlen(out.reason), PF_VMM_REASON_MAX);
	assert_int_equal(strspn(out.reason, "r"), PF_VMM_REASON_MAX);
}

static void a_message_or_a_list_too_long_is_refused(void **state)
{
	struct pf_vmm_message out;
	struct pf_err err = {0};
	/* Hello{version 1, SOURCE, 1025 thread ids of one byte} */
	const uint8_t hello[] = {0x0a, 0x88, 0x08, 0x08, 1, 0x10, 1, 0x1a, 0x81, 0x08};

	(void)state;
	memcpy(bytes, hello, sizeof(hello));
	memset(bytes + sizeof(hello), 1, 1025);
	assert_int_equal(pf_vmm_msg_unpack(bytes, sizeof(hello) + 1025, false, 0, &out, &err), -1);
	assert_string_equal(err.text, "a HELLO with 1025 vCPUs; 1024 are allowed");
	assert_int_equal(pf_vmm_msg_unpack(bytes, PF_VMM_MESSAGE_MAX + 1, false, 0, &out, &err),
			 -1);
	assert_string_equal(err.text, "a message of 65537 bytes; 65536 are allowed");
}

static void a_vmm_owes_so_many_answers_and_no_more(void **state)
{
	struct pf_vmm_message msg = {.type = PF_VMM_HELLO,
				     .hello = {.version = PF_VMM_VERSION, .owed = PF_VMM_OWED_MAX}};
	struct pf_vmm_message out;
	struct pf_err err = {0};

	(void)state;
	assert_int_equal(pf_vmm_msg_unpack(bytes, pf_vmm_msg_pack(&msg, bytes), false, 0, &out, &err), 0);
	assert_int_equal(out.hello.owed, PF_VMM_OWED_MAX);
	msg.hello.owed++;
	assert_int_equal(pf_vmm_msg_unpack(bytes, pf_vmm_msg_pack(&msg, bytes), false, 0, &out, &err), -1);
}

static void what_breaks_a_limit_is_not_packed(void **state)
{
	struct pf_vmm_message msg = regions_of_all_kinds();

	(void)state;
	msg.regions.region[0].mapping_count = PF_VMM_MAPPINGS_MAX + 1;
	assert_int_equal(pf_vmm_msg_pack(&msg, bytes), 0);
	msg = regions_of_all_kinds();
	msg.regions.region[2].populated_first = 3;
	assert_int_equal(pf_vmm_msg_pack(&msg, bytes), 0);
	msg = regions_of_all_kinds();
	msg.regions.count = PF_REGIONS_MAX + 1;
	assert_int_equal(pf_vmm_msg_pack(&msg, bytes), 0);
	msg = (struct pf_vmm_message){.type = PF_VMM_HELLO,
				      .hello = {.vcpu_count = PF_VMM_VCPUS_MAX + 1}};
	assert_int_equal(pf_vmm_msg_pack(&msg, bytes), 0);
}

static void the_largest_messages_can_be_packed(void **state)
{
	struct pf_vmm_message msg = {.type = PF_VMM_HELLO,
				     .hello = {.vcpu_count = PF_VMM_VCPUS_MAX}};

	(void)state;
	memset(msg.hello.vcpu_tid, 0xff, sizeof(msg.hello.vcpu_tid));
	assert_in_range(pf_vmm_msg_pack(&msg, bytes), 5000, PF_VMM_MESSAGE_MAX);
	msg = (struct pf_vmm_message){
		.type = PF_VMM_REGIONS,
		.regions = {.count = PF_REGIONS_MAX, .range_count = PF_VMM_RANGES_MAX}};
	memset(msg.regions.range, 0xff, sizeof(msg.regions.range));
	for (unsigned i = 0; i < PF_REGIONS_MAX; i++) {
		struct pf_vmm_region *region = &msg.regions.region[i];

		memset(region, 0xff, sizeof(*region));
		region->fd = region->bitmap_fd = 127;
		region->discards = region->fill_atomic = region->machine_checks = true;
		region->mapping_count = PF_VMM_MAPPINGS_MAX;
		region->populated_first = 0;
		region->populated_count = PF_VMM_RANGES_MAX / PF_REGIONS_MAX;
	}
	assert_in_range(pf_vmm_msg_pack(&msg, bytes), 5000, PF_VMM_MESSAGE_MAX);
}

static void every_type_has_a_name(void **state)
{
	(void)state;
	assert_string_equal(pf_vmm_type_name(PF_VMM_CONTINUE_SOURCE), "CONTINUE_SOURCE");
	assert_string_equal(pf_vmm_type_name(0), "?");
	assert_string_equal(pf_vmm_type_name((enum pf_vmm_type)9), "?");
	assert_string_equal(pf_vmm_type_name((enum pf_vmm_type)1000), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_without_a_body_have_their_golden_bytes),
		cmocka_unit_test(messages_with_a_body_have_their_golden_bytes),
		cmocka_unit_test(a_fault_has_its_golden_bytes_on_its_own_socket_too),
		cmocka_unit_test(an_answer_can_say_that_the_page_is_lost),
		cmocka_unit_test(the_longest_fault_fits),
		cmocka_unit_test(what_is_no_fault_is_refused_on_the_fault_socket),
		cmocka_unit_test(a_body_that_needs_more_room_than_a_fault_is_refused),
		cmocka_unit_test(regions_have_their_golden_bytes),
		cmocka_unit_test(regions_come_back_whole),
		cmocka_unit_test(bad_shapes_are_refused_with_their_reason),
		cmocka_unit_test(bad_files_are_refused_with_their_reason),
		cmocka_unit_test(bad_mappings_are_refused_with_their_reason),
		cmocka_unit_test(bad_populated_lists_are_refused_with_their_reason),
		cmocka_unit_test(the_populated_lists_together_are_limited),
		cmocka_unit_test(a_fifth_mapping_is_refused),
		cmocka_unit_test(bad_messages_are_refused_with_their_reason),
		cmocka_unit_test(a_reason_too_long_is_cut),
		cmocka_unit_test(a_message_or_a_list_too_long_is_refused),
		cmocka_unit_test(a_vmm_owes_so_many_answers_and_no_more),
		cmocka_unit_test(what_breaks_a_limit_is_not_packed),
		cmocka_unit_test(the_largest_messages_can_be_packed),
		cmocka_unit_test(every_type_has_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
