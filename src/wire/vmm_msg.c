/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* wire/vmm_msg.c - see wire/vmm_msg.h; what is checked: proto/WIRE.md, "The VMM socket". */
#include "wire/vmm_msg.h"

#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "proto/vmm.pb-c.h"
#include "wire/body.h"

#define FROM_AGENT_FIRST PF_VMM_PAUSE /* the agent's half of the numbers begins here */
#define ANY_FDS SIZE_MAX

struct kind {
	const char *name;
	size_t fds; /* how many descriptors come with it */
};

static const struct kind kinds[] = {
	[PF_VMM_HELLO] = {"HELLO", 0},
	[PF_VMM_REGIONS] = {"REGIONS", ANY_FDS},
	[PF_VMM_PAUSED] = {"PAUSED", 1},
	[PF_VMM_READY] = {"READY", 0},
	[PF_VMM_RESUMED] = {"RESUMED", 0},
	[PF_VMM_RESUME_REFUSED] = {"RESUME_REFUSED", 0},
	[PF_VMM_FAULT] = {"FAULT", 0},
	[PF_VMM_PAUSE] = {"PAUSE", 0},
	[PF_VMM_LOAD] = {"LOAD", 1},
	[PF_VMM_RESUME] = {"RESUME", 0},
	[PF_VMM_CONTINUE_SOURCE] = {"CONTINUE_SOURCE", 0},
	[PF_VMM_RESOLVED] = {"RESOLVED", 0},
	[PF_VMM_COMPLETE] = {"COMPLETE", 0},
	[PF_VMM_RELEASE] = {"RELEASE", 0},
	[PF_VMM_ERROR] = {"ERROR", 0},
	[PF_VMM_REGIONS_ACCEPTED] = {"REGIONS_ACCEPTED", 0},
	[PF_VMM_ATTACH] = {"ATTACH", 0},
};

#define SAME(a, b) _Static_assert((int)(a) == (int)(b), "the numbers of vmm.proto and vmm_msg.h")

SAME(PF_VMM_HELLO, PAGEFERRY__VMM__ENVELOPE__BODY_HELLO);
SAME(PF_VMM_REGIONS, PAGEFERRY__VMM__ENVELOPE__BODY_REGIONS);
SAME(PF_VMM_PAUSED, PAGEFERRY__VMM__ENVELOPE__BODY_PAUSED);
SAME(PF_VMM_READY, PAGEFERRY__VMM__ENVELOPE__BODY_READY);
SAME(PF_VMM_RESUMED, PAGEFERRY__VMM__ENVELOPE__BODY_RESUMED);
SAME(PF_VMM_RESUME_REFUSED, PAGEFERRY__VMM__ENVELOPE__BODY_RESUME_REFUSED);
SAME(PF_VMM_FAULT, PAGEFERRY__VMM__ENVELOPE__BODY_FAULT);
SAME(PF_VMM_PAUSE, PAGEFERRY__VMM__ENVELOPE__BODY_PAUSE);
SAME(PF_VMM_LOAD, PAGEFERRY__VMM__ENVELOPE__BODY_LOAD);
SAME(PF_VMM_RESUME, PAGEFERRY__VMM__ENVELOPE__BODY_RESUME);
SAME(PF_VMM_CONTINUE_SOURCE, PAGEFERRY__VMM__ENVELOPE__BODY_CONTINUE_SOURCE);
SAME(PF_VMM_RESOLVED, PAGEFERRY__VMM__ENVELOPE__BODY_RESOLVED);
SAME(PF_VMM_COMPLETE, PAGEFERRY__VMM__ENVELOPE__BODY_COMPLETE);
SAME(PF_VMM_RELEASE, PAGEFERRY__VMM__ENVELOPE__BODY_RELEASE);
SAME(PF_VMM_ERROR, PAGEFERRY__VMM__ENVELOPE__BODY_ERROR);
SAME(PF_VMM_REGIONS_ACCEPTED, PAGEFERRY__VMM__ENVELOPE__BODY_REGIONS_ACCEPTED);
SAME(PF_VMM_ATTACH, PAGEFERRY__VMM__ENVELOPE__BODY_ATTACH);
SAME(PF_VMM_FRESH, PAGEFERRY__VMM__STAGE__FRESH);
SAME(PF_VMM_STANDS, PAGEFERRY__VMM__STAGE__STANDS);
SAME(PF_VMM_ACCEPTED, PAGEFERRY__VMM__STAGE__ACCEPTED);
SAME(PF_VMM_LOADED, PAGEFERRY__VMM__STAGE__LOADED);
SAME(PF_VMM_RESUMING, PAGEFERRY__VMM__STAGE__RESUMING);
SAME(PF_VMM_RUNS, PAGEFERRY__VMM__STAGE__RUNS);
SAME(PF_VMM_REFUSED, PAGEFERRY__VMM__STAGE__REFUSED);
SAME(PF_MEMORY_MEMFD, PAGEFERRY__VMM__KIND__MEMFD);
SAME(PF_MEMORY_GUEST_MEMFD, PAGEFERRY__VMM__KIND__GUEST_MEMFD);
SAME(PF_MEMORY_HUGETLBFS, PAGEFERRY__VMM__KIND__HUGETLBFS);
SAME(PF_MEMORY_PRIVATE, PAGEFERRY__VMM__KIND__PRIVATE);
SAME(PF_POPULATED_NONE, PAGEFERRY__VMM__POPULATED__POPULATED_NONE);
SAME(PF_POPULATED_PREALLOCATED, PAGEFERRY__VMM__POPULATED__PREALLOCATED);
SAME(PF_POPULATED_LIST, PAGEFERRY__VMM__POPULATED__LIST);

const char *pf_vmm_type_name(enum pf_vmm_type type)
{
	if ((size_t)type >= PF_ARRAY_LEN(kinds) || !kinds[type].name)
		return "?";
	return kinds[type].name;
}

/* ---- packing ---- */

/* Room for the generated structs of one REGIONS message; they only point at each other. */
struct regions_room {
	Pageferry__Vmm__Region region[PF_REGIONS_MAX], *regions[PF_REGIONS_MAX];
	Pageferry__Vmm__Mapping mapping[PF_REGIONS_MAX][PF_VMM_MAPPINGS_MAX];
	Pageferry__Vmm__Mapping *mappings[PF_REGIONS_MAX][PF_VMM_MAPPINGS_MAX];
	Pageferry__Vmm__PageRange range[PF_VMM_RANGES_MAX], *ranges[PF_VMM_RANGES_MAX];
};

static void put_region(const struct pf_vmm_region *from, Pageferry__Vmm__Region *to)
{
	pageferry__vmm__region__init(to);
	to->id = from->id;
	to->gpa = from->shape.gpa;
	to->size = from->shape.size;
	to->page_size = from->shape.page_size;
	to->kind = (Pageferry__Vmm__Kind)from->kind;
	to->has_fd = from->fd != PF_VMM_NO_FD;
	to->fd = to->has_fd ? from->fd : 0;
	to->offset = from->offset;
	to->has_bitmap = from->bitmap_fd != PF_VMM_NO_FD;
	to->bitmap_fd = to->has_bitmap ? from->bitmap_fd : 0;
	to->populated = (Pageferry__Vmm__Populated)from->populated;
	to->discards = from->discards;
	to->fill_atomic = from->fill_atomic;
	to->machine_checks = from->machine_checks;
}

static bool counts_fit(const struct pf_vmm_regions *from)
{
	if (from->count > PF_REGIONS_MAX || from->range_count > PF_VMM_RANGES_MAX)
		return false;
	for (uint32_t i = 0; i < from->count; i++) {
		const struct pf_vmm_region *region = &from->region[i];

		if (region->mapping_count > PF_VMM_MAPPINGS_MAX ||
		    region->populated_first > from->range_count ||
		    region->populated_count > from->range_count - region->populated_first)
			return false;
	}
	return true;
}

static void put_regions(const struct pf_vmm_regions *from, struct regions_room *room,
			Pageferry__Vmm__Regions *to)
{
	for (uint32_t r = 0; r < from->range_count; r++) {
		pageferry__vmm__page_range__init(&room->range[r]);
		room->range[r].first = from->range[r].first;
		room->range[r].count = from->range[r].count;
		room->ranges[r] = &room->range[r];
	}
	for (uint32_t i = 0; i < from->count; i++) {
		const struct pf_vmm_region *region = &from->region[i];
		Pageferry__Vmm__Region *out = room->regions[i] = &room->region[i];

		put_region(region, out);
		for (uint32_t m = 0; m < region->mapping_count; m++) {
			room->mappings[i][m] = &room->mapping[i][m];
			pageferry__vmm__mapping__init(&room->mapping[i][m]);
			room->mapping[i][m].uffd_fd = region->mapping[m].uffd;
			room->mapping[i][m].address = region->mapping[m].base;
		}
		out->n_mapping = region->mapping_count;
		out->mapping = room->mappings[i];
		out->n_populated_list = region->populated_count;
		out->populated_list = room->ranges + region->populated_first;
	}
	to->n_region = from->count;
	to->region = room->regions;
	to->no_other_mappings = from->no_other_mappings;
	to->has_fault_socket = from->has_fault_socket;
	to->fault_socket_fd = from->has_fault_socket ? from->fault_socket : 0;
}

static size_t pack_regions(const struct pf_vmm_regions *from, uint8_t *out)
{
	Pageferry__Vmm__Envelope envelope = PAGEFERRY__VMM__ENVELOPE__INIT;
	Pageferry__Vmm__Regions body = PAGEFERRY__VMM__REGIONS__INIT;
	struct regions_room room;

	if (!counts_fit(from))
		return 0;
	put_regions(from, &room, &body);
	envelope.body_case = PAGEFERRY__VMM__ENVELOPE__BODY_REGIONS;
	envelope.regions = &body;
	return pf_body_pack(&envelope.base, out, PF_VMM_MESSAGE_MAX);
}

static size_t pack_hello(const struct pf_vmm_hello *from, uint8_t *out)
{
	Pageferry__Vmm__Envelope envelope = PAGEFERRY__VMM__ENVELOPE__INIT;
	Pageferry__Vmm__Hello body = PAGEFERRY__VMM__HELLO__INIT;

	if (from->vcpu_count > PF_VMM_VCPUS_MAX)
		return 0;
	body.version = from->version;
	body.role = from->destination ? PAGEFERRY__VMM__ROLE__DESTINATION
				      : PAGEFERRY__VMM__ROLE__SOURCE;
	body.stage = (Pageferry__Vmm__Stage)from->stage;
	body.owed = from->owed;
	body.attach = from->attach;
	body.n_vcpu_tids = from->vcpu_count;
	body.vcpu_tids = (uint32_t *)from->vcpu_tid;
	envelope.body_case = PAGEFERRY__VMM__ENVELOPE__BODY_HELLO;
	envelope.hello = &body;
	return pf_body_pack(&envelope.base, out, PF_VMM_MESSAGE_MAX);
}

size_t pf_vmm_fault_pack(enum pf_vmm_type type, const struct pf_vmm_fault *fault,
			 uint8_t out[PF_VMM_FAULT_BYTES])
{
	Pageferry__Vmm__Envelope envelope = PAGEFERRY__VMM__ENVELOPE__INIT;
	Pageferry__Vmm__Fault body = PAGEFERRY__VMM__FAULT__INIT;

	body.vcpu = fault->vcpu;
	body.gpa = fault->gpa;
	body.lost = fault->lost;
	envelope.body_case = (Pageferry__Vmm__Envelope__BodyCase)type;
	envelope.fault = &body; /* a union: `resolved` is the same place */
	return pf_body_pack(&envelope.base, out, PF_VMM_FAULT_BYTES);
}

size_t pf_vmm_msg_pack(const struct pf_vmm_message *msg, uint8_t *out)
{
	Pageferry__Vmm__Envelope envelope = PAGEFERRY__VMM__ENVELOPE__INIT;
	Pageferry__Vmm__Paused paused = PAGEFERRY__VMM__PAUSED__INIT;
	Pageferry__Vmm__Load load = PAGEFERRY__VMM__LOAD__INIT;
	Pageferry__Vmm__Text text = PAGEFERRY__VMM__TEXT__INIT;
	Pageferry__Vmm__Empty empty = PAGEFERRY__VMM__EMPTY__INIT;
	Pageferry__Vmm__Attach attach = PAGEFERRY__VMM__ATTACH__INIT;

	envelope.body_case = (Pageferry__Vmm__Envelope__BodyCase)msg->type;
	switch (msg->type) {
	case PF_VMM_HELLO:
		return pack_hello(&msg->hello, out);
	case PF_VMM_REGIONS:
		return pack_regions(&msg->regions, out);
	case PF_VMM_PAUSED:
		paused.device_state_fd = msg->state.fd;
		paused.size = msg->state.size;
		envelope.paused = &paused;
		break;
	case PF_VMM_LOAD:
		load.device_state_fd = msg->state.fd;
		load.size = msg->state.size;
		envelope.load = &load;
		break;
	case PF_VMM_ATTACH:
		attach.number = msg->attach;
		envelope.attach = &attach;
		break;
	case PF_VMM_FAULT:
	case PF_VMM_RESOLVED:
		return pf_vmm_fault_pack(msg->type, &msg->fault, out);
	case PF_VMM_RESUME_REFUSED:
	case PF_VMM_ERROR:
		text.reason = (char *)msg->reason;
		envelope.error = &text;
		break;
	default:
		envelope.ready = &empty;
		break;
	}
	return pf_body_pack(&envelope.base, out, PF_VMM_MESSAGE_MAX);
}

/* ---- unpacking ---- */

/* What it can be in whose role, and what it can owe there. */
static bool stage_fits(const Pageferry__Vmm__Hello *body)
{
	bool source = body->role == PAGEFERRY__VMM__ROLE__SOURCE;

	if (body->owed > PF_VMM_OWED_MAX)
		return false;
	switch (body->stage) {
	case PAGEFERRY__VMM__STAGE__FRESH:
		return source || body->owed == 0;
	case PAGEFERRY__VMM__STAGE__STANDS:
		return source && body->owed == 0;
	case PAGEFERRY__VMM__STAGE__ACCEPTED:
		return !source;
	case PAGEFERRY__VMM__STAGE__LOADED:
	case PAGEFERRY__VMM__STAGE__RESUMING:
	case PAGEFERRY__VMM__STAGE__RUNS:
	case PAGEFERRY__VMM__STAGE__REFUSED:
		return !source && body->owed == 0;
	default:
		return false;
	}
}

static int unpack_hello(const Pageferry__Vmm__Hello *body, struct pf_vmm_hello *out,
			struct pf_err *err)
{
	if (body->version != PF_VMM_VERSION)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "the VMM speaks version %" PRIu32 ", this agent version %u",
				  body->version, PF_VMM_VERSION);
	if (body->role != PAGEFERRY__VMM__ROLE__SOURCE &&
	    body->role != PAGEFERRY__VMM__ROLE__DESTINATION)
		return pf_err_set(err, PF_ERR_PROTOCOL, "a HELLO with the unknown role %d",
				  (int)body->role);
	if (!stage_fits(body))
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "a HELLO of stage %d, owing %" PRIu32 " answers: not in its role",
				  (int)body->stage, body->owed);
	if (body->n_vcpu_tids > PF_VMM_VCPUS_MAX)
		return pf_err_set(err, PF_ERR_PROTOCOL, "a HELLO with %zu vCPUs; %u are allowed",
				  body->n_vcpu_tids, PF_VMM_VCPUS_MAX);
	for (size_t i = 0; i < body->n_vcpu_tids; i++) {
		if (body->vcpu_tids[i] == 0 || body->vcpu_tids[i] > INT32_MAX)
			return pf_err_set(err, PF_ERR_PROTOCOL,
					  "a HELLO with the thread id %" PRIu32 " for vCPU %zu",
					  body->vcpu_tids[i], i);
		out->vcpu_tid[i] = body->vcpu_tids[i];
	}
	out->version = body->version;
	out->stage = (enum pf_vmm_stage)body->stage;
	out->owed = body->owed;
	out->attach = body->attach;
	out->destination = body->role == PAGEFERRY__VMM__ROLE__DESTINATION;
	out->vcpu_count = (uint32_t)body->n_vcpu_tids;
	return 0;
}

/* The memory file: there is one exactly where the kind has one, and the region fits into off_t. */
static const char *file_fault(const Pageferry__Vmm__Region *in, size_t fd_count)
{
	uint64_t end;

	if (in->kind < PAGEFERRY__VMM__KIND__MEMFD || in->kind > PAGEFERRY__VMM__KIND__PRIVATE)
		return "its kind is unknown";
	if (in->has_fd != (in->kind != PAGEFERRY__VMM__KIND__PRIVATE))
		return "a memory file comes with every kind but PRIVATE, and only then";
	if (in->has_fd ? in->fd >= fd_count : in->fd != 0)
		return "its memory file is not among the descriptors";
	if (in->has_bitmap ? in->bitmap_fd >= fd_count : in->bitmap_fd != 0)
		return "its bitmap is not among the descriptors";
	if (!in->has_fd && in->offset != 0)
		return "it has an offset, but no memory file";
	if (in->offset % in->page_size != 0)
		return "its offset is not a multiple of its page size";
	if (__builtin_add_overflow(in->offset, in->size, &end) || end > INT64_MAX)
		return "it ends beyond what a file can hold";
	return NULL;
}

static const char *mappings_fault(const Pageferry__Vmm__Region *in, size_t fd_count)
{
	uint64_t end;

	if (in->n_mapping > PF_VMM_MAPPINGS_MAX)
		return "it has more than 4 mappings";
	for (size_t i = 0; i < in->n_mapping; i++) {
		if (in->mapping[i]->uffd_fd >= fd_count)
			return "a mapping's userfaultfd is not among the descriptors";
		if (in->mapping[i]->address == 0 || in->mapping[i]->address % in->page_size != 0)
			return "a mapping's base is 0 or not a multiple of the page size";
		if (__builtin_add_overflow(in->mapping[i]->address, in->size, &end))
			return "a mapping wraps around the end of the address space";
	}
	return NULL;
}

static const char *populated_fault(const Pageferry__Vmm__Region *in)
{
	uint64_t pages = in->size / in->page_size;
	bool list = in->populated == PAGEFERRY__VMM__POPULATED__LIST;

	if (in->populated < PAGEFERRY__VMM__POPULATED__POPULATED_NONE ||
	    in->populated > PAGEFERRY__VMM__POPULATED__LIST)
		return "`populated` is unknown";
	if (list != (in->n_populated_list > 0))
		return "a list of populated pages comes with LIST, and only then";
	for (size_t i = 0; i < in->n_populated_list; i++) {
		const Pageferry__Vmm__PageRange *range = in->populated_list[i];

		if (range->count == 0 || range->count > UINT32_MAX || range->first >= pages ||
		    range->count > pages - range->first)
			return "a populated range is empty or leaves the region";
	}
	return NULL;
}

static int check_region(const Pageferry__Vmm__Region *in, size_t fd_count, struct pf_err *err)
{
	const char *fault = file_fault(in, fd_count);

	if (!fault)
		fault = mappings_fault(in, fd_count);
	if (!fault)
		fault = populated_fault(in);
	if (fault)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "region with id %" PRIu32 " (GPA 0x%" PRIx64 "): %s", in->id,
				  in->gpa, fault);
	return 0;
}

/* The shapes by the rules of the agreed table, which is sorted; a VMM need not sort. */
static int check_shapes(const Pageferry__Vmm__Regions *body, struct pf_err *err)
{
	struct pf_region_table table = {0};

	if (body->n_region == 0 || body->n_region > PF_REGIONS_MAX)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "a table of %zu regions; 1 to %d are allowed", body->n_region,
				  PF_REGIONS_MAX);
	for (size_t i = 0; i < body->n_region; i++) {
		const Pageferry__Vmm__Region *in = body->region[i];
		uint32_t place = table.count++;

		for (; place > 0 && table.region[place - 1].gpa > in->gpa; place--)
			table.region[place] = table.region[place - 1];
		table.region[place] = (struct pf_region_shape){in->gpa, in->size, in->page_size};
	}
	if (pf_table_check(&table, err))
		return pf_err_prefix(err, "the VMM's regions, in the order of their GPAs");
	return 0;
}

static bool overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
	return a < b ? b - a < a_size : a - b < b_size;
}

/* Two regions in the same bytes of a file, or at the same addresses, would answer for each other.
 */
static const char *pair_fault(const struct pf_vmm_region *a, const struct pf_vmm_region *b)
{
	if (a != b && a->fd != PF_VMM_NO_FD && a->fd == b->fd &&
	    overlap(a->offset, a->shape.size, b->offset, b->shape.size))
		return "share bytes of a memory file";
	for (uint32_t i = 0; i < a->mapping_count; i++)
		for (uint32_t k = a == b ? i + 1 : 0; k < b->mapping_count; k++)
			if (a->mapping[i].uffd == b->mapping[k].uffd &&
			    overlap(a->mapping[i].base, a->shape.size, b->mapping[k].base,
				    b->shape.size))
				return "have mappings that overlap";
	return NULL;
}

static int check_pairs(const struct pf_vmm_regions *regions, struct pf_err *err)
{
	for (uint32_t i = 0; i < regions->count; i++)
		for (uint32_t k = i; k < regions->count; k++) {
			const struct pf_vmm_region *a = &regions->region[i];
			const struct pf_vmm_region *b = &regions->region[k];
			const char *fault = pair_fault(a, b);

			if (fault)
				return pf_err_set(err, PF_ERR_PROTOCOL,
						  "regions with ids %" PRIu32 " and %" PRIu32 " %s",
						  a->id, b->id, fault);
			if ((a->mapping_count == 0) != (b->mapping_count == 0))
				return pf_err_set(err, PF_ERR_PROTOCOL,
						  "regions with ids %" PRIu32 " and %" PRIu32
						  ": one has mappings, one has none",
						  a->id, b->id);
		}
	return 0;
}

static void take_region(const Pageferry__Vmm__Region *in, struct pf_vmm_region *out)
{
	*out = (struct pf_vmm_region){
		.id = in->id,
		.shape = {in->gpa, in->size, in->page_size},
		.kind = (enum pf_memory_kind)in->kind,
		.fd = in->has_fd ? in->fd : PF_VMM_NO_FD,
		.offset = in->offset,
		.mapping_count = (uint32_t)in->n_mapping,
		.bitmap_fd = in->has_bitmap ? in->bitmap_fd : PF_VMM_NO_FD,
		.populated = (enum pf_populated)in->populated,
		.discards = in->discards,
		.fill_atomic = in->fill_atomic,
		.machine_checks = in->machine_checks,
	};
	for (size_t i = 0; i < in->n_mapping; i++) {
		out->mapping[i].uffd = in->mapping[i]->uffd_fd;
		out->mapping[i].base = in->mapping[i]->address;
	}
}

static int take_ranges(const Pageferry__Vmm__Region *in, uint32_t index, struct pf_vmm_regions *out,
		       struct pf_err *err)
{
	if (in->n_populated_list > PF_VMM_RANGES_MAX - out->range_count)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "more than %u populated ranges in all regions together",
				  PF_VMM_RANGES_MAX);
	out->region[index].populated_first = out->range_count;
	out->region[index].populated_count = (uint32_t)in->n_populated_list;
	for (size_t i = 0; i < in->n_populated_list; i++)
		out->range[out->range_count++] = (struct pf_run){
			.region = index,
			.count = (uint32_t)in->populated_list[i]->count,
			.first = in->populated_list[i]->first,
		};
	return 0;
}

static int unpack_regions(const Pageferry__Vmm__Regions *body, size_t fd_count,
			  struct pf_vmm_regions *out, struct pf_err *err)
{
	if (check_shapes(body, err))
		return -1;
	if (body->has_fault_socket ? body->fault_socket_fd >= fd_count : body->fault_socket_fd != 0)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "the fault socket is not among the descriptors");
	out->count = (uint32_t)body->n_region;
	out->no_other_mappings = body->no_other_mappings;
	out->has_fault_socket = body->has_fault_socket;
	out->fault_socket = body->fault_socket_fd;
	for (uint32_t i = 0; i < out->count; i++) {
		if (check_region(body->region[i], fd_count, err))
			return -1;
		take_region(body->region[i], &out->region[i]);
		if (take_ranges(body->region[i], i, out, err))
			return -1;
	}
	return check_pairs(out, err);
}

static int take_state(uint32_t fd, uint64_t size, struct pf_vmm_message *out, struct pf_err *err)
{
	if (fd != 0) /* it comes with exactly one descriptor */
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "a %s message with descriptor %" PRIu32 " of 1",
				  pf_vmm_type_name(out->type), fd);
	out->state.fd = fd;
	out->state.size = size;
	return 0;
}

static int take_fault(const Pageferry__Vmm__Fault *body, enum pf_vmm_type type,
		      struct pf_vmm_fault *out, struct pf_err *err)
{
	if (body->vcpu >= PF_VMM_VCPUS_MAX)
		return pf_err_set(err, PF_ERR_PROTOCOL, "a %s message for vCPU %" PRIu32,
				  pf_vmm_type_name(type), body->vcpu);
	if (body->lost && type == PF_VMM_FAULT)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "a FAULT message that says that its page is lost");
	*out = (struct pf_vmm_fault){.vcpu = body->vcpu, .gpa = body->gpa, .lost = body->lost};
	return 0;
}

int pf_vmm_fault_unpack(const uint8_t *in, size_t length, enum pf_vmm_type type,
			struct pf_vmm_fault *out, struct pf_err *err)
{
	struct pf_body_room room;
	const Pageferry__Vmm__Envelope *body;

	if (length == 0 || length > PF_VMM_FAULT_BYTES)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "a message of %zu bytes on the fault socket; 1 to %u are allowed",
				  length, PF_VMM_FAULT_BYTES);
	body = pf_body_unpack_into(&room, &pageferry__vmm__envelope__descriptor, in, length, err);
	if (!body)
		return -1;
	if ((enum pf_vmm_type)body->body_case != type)
		return pf_err_set(err, PF_ERR_PROTOCOL, "a %s message on the fault socket",
				  pf_vmm_type_name((enum pf_vmm_type)body->body_case));
	return take_fault(body->fault, type, out, err); /* a union, as above */
}

/* Cut where it is too long: it is for people, and what it is the reason of must not be lost by it. */
static int take_text(const Pageferry__Vmm__Text *body, struct pf_vmm_message *out)
{
	pf_body_text(body->reason, out->reason, sizeof(out->reason));
	return 0;
}

static int check_type(enum pf_vmm_type type, bool from_agent, size_t fd_count, struct pf_err *err)
{
	if (type == 0)
		return pf_err_set(err, PF_ERR_PROTOCOL, "an empty message");
	if ((type >= FROM_AGENT_FIRST) != from_agent)
		return pf_err_set(err, PF_ERR_PROTOCOL, "a %s message from the %s",
				  pf_vmm_type_name(type), from_agent ? "agent" : "VMM");
	if (kinds[type].fds != ANY_FDS && kinds[type].fds != fd_count)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "a %s message with %zu descriptors instead of %zu",
				  pf_vmm_type_name(type), fd_count, kinds[type].fds);
	return 0;
}

int pf_vmm_msg_unpack(const uint8_t *in, size_t length, bool from_agent, size_t fd_count,
		      struct pf_vmm_message *out, struct pf_err *err)
{
	pf_auto_body Pageferry__Vmm__Envelope *body = NULL;

	if (length > PF_VMM_MESSAGE_MAX)
		return pf_err_set(err, PF_ERR_PROTOCOL, "a message of %zu bytes; %u are allowed",
				  length, PF_VMM_MESSAGE_MAX);
	body = pf_body_unpack(&pageferry__vmm__envelope__descriptor, in, length, err);
	if (!body || check_type((enum pf_vmm_type)body->body_case, from_agent, fd_count, err))
		return -1;
	memset(out, 0, sizeof(*out));
	out->type = (enum pf_vmm_type)body->body_case;
	switch (out->type) {
	case PF_VMM_HELLO:
		return unpack_hello(body->hello, &out->hello, err);
	case PF_VMM_REGIONS:
		return unpack_regions(body->regions, fd_count, &out->regions, err);
	case PF_VMM_PAUSED:
		return take_state(body->paused->device_state_fd, body->paused->size, out, err);
	case PF_VMM_LOAD:
		return take_state(body->load->device_state_fd, body->load->size, out, err);
	case PF_VMM_FAULT:
		return take_fault(body->fault, out->type, &out->fault, err);
	case PF_VMM_RESOLVED:
		return take_fault(body->resolved, out->type, &out->fault, err);
	case PF_VMM_RESUME_REFUSED:
		return take_text(body->resume_refused, out);
	case PF_VMM_ERROR:
		return take_text(body->error, out);
	case PF_VMM_ATTACH:
		out->attach = body->attach->number;
		return out->attach ? 0 : pf_err_set(err, PF_ERR_PROTOCOL, "an ATTACH without a number");
	default:
		return 0;
	}
}
