/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/assembly.c - see migrate/assembly.h; proto/WIRE.md section 2.1. */
#include "migrate/assembly.h"

#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

static bool in_parts(uint32_t page_size)
{
	return page_size > PF_BULK_BODY_MAX;
}

/* Populated: otherwise the first page to come would pay for hundreds of faults. */
static uint8_t *map_buffer(uint32_t size, struct pf_err *err)
{
	void *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (bytes == MAP_FAILED) {
		pf_err_sys(err, "allocating %" PRIu32 " bytes to put a page's parts together",
			   size);
		return NULL;
	}
	(void)madvise(bytes, size, MADV_DONTDUMP); /* guest memory, DESIGN.md section 7 */
	return bytes;
}

int pf_assembly_init(struct pf_assembly *assembly, const struct pf_region_table *table,
		     struct pf_err *err)
{
	uint32_t size = 0;

	for (uint32_t i = 0; i < table->count; i++)
		if (in_parts(table->region[i].page_size) && table->region[i].page_size > size)
			size = table->region[i].page_size;
	if (size == 0 || assembly->bytes)
		return 0;
	assembly->bytes = map_buffer(size, err);
	assembly->size = size;
	return assembly->bytes ? 0 : -1;
}

void pf_assembly_done(struct pf_assembly *assembly)
{
	if (assembly->bytes)
		munmap(assembly->bytes, assembly->size);
	*assembly = (struct pf_assembly){0};
}

void pf_assembly_forget(struct pf_assembly *assembly)
{
	assembly->got = 0;
}

/* Does the frame's run have the page that is under way? */
static bool names_page(const struct pf_assembly *assembly, const struct pf_frame *frame)
{
	return assembly->got > 0 && frame->region == assembly->region &&
	       assembly->page >= frame->page && assembly->page - frame->page < frame->count;
}

static int check_part(const struct pf_assembly *assembly, const struct pf_frame *frame,
		      struct pf_err *err)
{
	bool first = assembly->got == 0;

	if (first ? frame->extra == 0
		  : names_page(assembly, frame) && frame->extra == assembly->got)
		return 0;
	pf_err_set(err, PF_ERR_PROTOCOL,
		   "a part at byte %" PRIu32 " of page %" PRIu64 " of region %u", frame->extra,
		   frame->page, frame->region);
	if (first)
		return pf_err_prefix(err, "a page that does not begin with its first part");
	return pf_err_prefix(
		err, "byte %" PRIu32 " of page %" PRIu64 " of region %" PRIu32 " has to come next",
		assembly->got, assembly->page, assembly->region);
}

int pf_assembly_take(struct pf_assembly *assembly, const struct pf_region_table *table,
		     const struct pf_frame *frame, const uint8_t **body, struct pf_err *err)
{
	uint32_t page_size = table->region[frame->region].page_size;

	if (frame->type != PF_FRAME_PAGES && names_page(assembly, frame))
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "%s for page %" PRIu64 " of region %" PRIu32 ", of which %" PRIu32
				  " bytes have come",
				  pf_frame_name(frame->type), assembly->page, assembly->region,
				  assembly->got);
	if (frame->type != PF_FRAME_PAGES || !in_parts(page_size))
		return 1;
	if (check_part(assembly, frame, err))
		return -1;
	/* The frame's check: its part ends within the page, and the buffer holds the largest. */
	memcpy(assembly->bytes + frame->extra, *body, frame->length);
	assembly->region = frame->region;
	assembly->page = frame->page;
	assembly->got = frame->extra + frame->length;
	if (assembly->got < page_size)
		return 0;
	assembly->got = 0;
	*body = assembly->bytes;
	return 1;
}

void pf_assembly_lost(struct pf_assembly *assembly, const struct pf_frame *frame)
{
	if (names_page(assembly, frame))
		assembly->got = 0;
}
