/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/fuzz/fuzz-statedir.c - a state directory whose files somebody has damaged.
 *
 * Input: a byte that chooses the file, then its bytes; of those that are mapped, which are large, patches on
 * a good one: two bytes of position, one of value, and what is left over is cut off.  Opening must say what is
 * wrong, or give something that keeps its promises: a record of this version, events in the order of their
 * numbers, a ring that can be emptied, a journal whose counts are those of its pages, slots that can be
 * answered one by one.
 */
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "memory/journal.h"
#include "memory/ring.h"
#include "memory/slots.h"
#include "migrate/events.h"
#include "migrate/vmm_saved.h"
#include "tests/fuzz/fuzz.h"

static const struct pf_region_table table = {
	.count = 2,
	.region = {{.gpa = 0, .size = 40 * 4096, .page_size = 4096},
		   {.gpa = 1u << 30, .size = 3u << 21, .page_size = 2u << 20}},
};

static char folder[] = "/dev/shm/pageferry-fuzz-XXXXXX";
static int folder_fd = -1;
enum { RECORD, IDENTITY, EVENTS, RING, JOURNAL, SLOTS, VMM_REGIONS, VMM_HELLO, FILES };
static const char *const files[FILES] = {
	[RECORD] = "record",   [IDENTITY] = "identity", [EVENTS] = "events",
	[RING] = "uffd-0.ring", [JOURNAL] = "journal",	[SLOTS] = "vcpu.slots",
	[VMM_REGIONS] = "vmm-regions", [VMM_HELLO] = "vmm-hello",
};

static void clean_up(void)
{
	for (size_t i = 0; i < FILES; i++)
		(void)unlinkat(folder_fd, files[i], 0);
	(void)unlinkat(folder_fd, "lock", 0);
	(void)unlinkat(folder_fd, ".events.new", 0);
	(void)rmdir(folder);
}

/* A good one, and some events that were not dealt with. */
static void make_ring(struct pf_err *err)
{
	struct pf_ring ring;

	FUZZ_ASSERT(pf_ring_create(&ring, folder_fd, 0, err) == 0);
	for (unsigned i = 1000; i < 1030; i++)
		ring.slot[i % PF_RING_SLOTS].event = UFFD_EVENT_PAGEFAULT;
	pf_ring_close(&ring);
}

static void make_journal(struct pf_err *err)
{
	struct pf_journal journal;

	FUZZ_ASSERT(pf_journal_create(&journal, folder_fd, &table, err) == 0);
	(void)pf_journal_fill(&journal, 0, 3, pf_journal_claim(&journal, 0, 3, 16));
	(void)pf_journal_claim(&journal, 1, 0, 2);
	pf_journal_close(&journal);
}

static void make_slots(struct pf_err *err)
{
	struct pf_slots slots;

	FUZZ_ASSERT(pf_slots_create(&slots, folder_fd, err) == 0);
	pf_slots_set(&slots, 0, 0);
	pf_slots_set(&slots, 3, UINT64_C(5) << 32);
	pf_slots_set(&slots, PF_SLOTS - 1, 7 << 12);
	pf_slots_close(&slots);
}

static void patch_file(const char *name, const uint8_t *data, size_t size)
{
	int fd = openat(folder_fd, name, O_RDWR | O_CLOEXEC);
	off_t length = lseek(fd, 0, SEEK_END);

	FUZZ_ASSERT(fd >= 0 && length > 0);
	for (; size >= 3; data += 3, size -= 3)
		FUZZ_ASSERT(pwrite(fd, data + 2, 1, (data[0] << 8 | data[1]) % length) == 1);
	FUZZ_ASSERT(ftruncate(fd, length - (off_t)size) == 0);
	close(fd);
}

static void make_folder(void)
{
	if (folder_fd < 0) {
		FUZZ_ASSERT(mkdtemp(folder));
		folder_fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
		FUZZ_ASSERT(folder_fd >= 0 && atexit(clean_up) == 0);
	}
	for (size_t i = 0; i < FILES; i++)
		(void)unlinkat(folder_fd, files[i], 0);
}

static void write_file(const char *name, const uint8_t *data, size_t size)
{
	int fd = openat(folder_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	FUZZ_ASSERT(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	close(fd);
}

static int try_record(struct pf_statedir *dir, struct pf_err *err)
{
	enum pf_record record, again;
	uint32_t epoch, same;

	if (pf_statedir_read_record(dir, &record, &epoch, err))
		return -1;
	FUZZ_ASSERT(record > 0 && record < PF_RECORD_COUNT_);
	FUZZ_ASSERT(pf_statedir_write_record(dir, record, epoch, err) == 0);
	FUZZ_ASSERT(pf_statedir_read_record(dir, &again, &same, err) == 0);
	FUZZ_ASSERT(again == record && same == epoch);
	return 0;
}

static int try_events(struct pf_statedir *dir, struct pf_err *err)
{
	struct pf_events *events;
	json_int_t last = 0;
	json_t *kept, *one;
	size_t i;

	if (pf_events_open(dir, NULL, &events, err))
		return -1;
	pf_events_emit(events, "STATE", NULL);
	kept = pf_events_since(events, 0);
	FUZZ_ASSERT(json_array_size(kept) > 0 && json_array_size(kept) <= PF_EVENTS_KEPT);
	json_array_foreach(kept, i, one) {
		json_int_t seq = json_integer_value(json_object_get(one, "seq"));

		FUZZ_ASSERT(seq > last);
		last = seq;
	}
	json_decref(kept);
	pf_events_close(events);
	return 0;
}

static int try_ring(struct pf_statedir *dir, struct pf_err *err)
{
	struct pf_ring ring;
	unsigned count = 0;

	if (pf_ring_open(&ring, dir->fd, 0, err))
		return -1;
	for (; pf_ring_peek(&ring); pf_ring_pop(&ring), count++)
		FUZZ_ASSERT(pf_ring_peek(&ring)->event != 0);
	FUZZ_ASSERT(count < PF_RING_SLOTS);
	for (unsigned i = 0; i < PF_RING_SLOTS; i++)
		FUZZ_ASSERT(ring.slot[i].event == 0);
	pf_ring_close(&ring);
	return 0;
}

static int try_journal(struct pf_statedir *dir, struct pf_err *err)
{
	struct pf_journal journal;
	uint64_t filled = 0;
	bool first;

	if (pf_journal_open(&journal, dir->fd, &table, err))
		return -1;
	for (uint32_t region = 0; region < table.count; region++)
		for (uint64_t i = 0; i < pf_region_pages(&table.region[region]); i++) {
			enum pf_page_state state = pf_journal_request(&journal, region, i, &first);

			FUZZ_ASSERT(state == PF_PAGE_ABSENT || state == PF_PAGE_FILLED);
			filled += state == PF_PAGE_FILLED;
		}
	FUZZ_ASSERT(filled == journal.filled && journal.total == 43);
	FUZZ_ASSERT(pf_journal_complete(&journal) == (filled == journal.total));
	pf_journal_close(&journal);
	return 0;
}

static int try_slots(struct pf_statedir *dir, struct pf_err *err)
{
	struct pf_slots slots;
	uint64_t gpa;

	if (pf_slots_open(&slots, dir->fd, err))
		return -1;
	for (uint32_t vcpu = 0; pf_slots_next(&slots, &vcpu, &gpa); vcpu++) {
		FUZZ_ASSERT(vcpu < PF_SLOTS && gpa % 4096 == 0);
		FUZZ_ASSERT(!pf_slots_clear(&slots, vcpu, gpa ^ 4096));
		FUZZ_ASSERT(pf_slots_clear(&slots, vcpu, gpa));
		FUZZ_ASSERT(!pf_slots_clear(&slots, vcpu, gpa));
	}
	for (uint32_t vcpu = 0; vcpu < PF_SLOTS; vcpu++)
		FUZZ_ASSERT(slots.slot[vcpu] == 0);
	pf_slots_close(&slots);
	return 0;
}

static int try_vmm_regions(struct pf_statedir *dir, struct pf_err *err)
{
	struct pf_kept nothing = {.keeper_fd = -1};
	struct pf_vmm_regions regions;
	int fds[PF_UNIX_FDS_MAX], found;

	/* What it describes has not been kept: so nothing can come of it, or it is damaged. */
	found = pf_vmm_recall_regions(dir, &nothing, &regions, fds, err);
	FUZZ_ASSERT(found != 0);
	return found == 1 ? 0 : -1;
}

static int try_vmm_hello(struct pf_statedir *dir, struct pf_err *err)
{
	struct pf_vmm_hello hello;

	if (pf_vmm_recall_hello(dir, &hello, err))
		return -1;
	FUZZ_ASSERT(hello.version == PF_VMM_VERSION && hello.vcpu_count <= PF_VMM_VCPUS_MAX);
	FUZZ_ASSERT(pf_vmm_save_hello(dir, &hello, err) == 0);
	return 0;
}

static int (*const tries[FILES])(struct pf_statedir *dir, struct pf_err *err) = {
	[RECORD] = try_record, [EVENTS] = try_events, [RING] = try_ring, [JOURNAL] = try_journal,
	[SLOTS] = try_slots, [VMM_REGIONS] = try_vmm_regions, [VMM_HELLO] = try_vmm_hello,
};
/* Of those that are mapped: a good one. */
static void (*const makes[FILES])(struct pf_err *err) = {
	[RING] = make_ring, [JOURNAL] = make_journal, [SLOTS] = make_slots,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pf_statedir dir;
	struct pf_err err = {0};
	size_t which;
	int failed;

	if (size == 0 || size > 100000)
		return 0;
	which = data[0] % FILES;
	make_folder();
	if (makes[which]) {
		makes[which](&err);
		patch_file(files[which], data + 1, size - 1);
	} else {
		write_file(files[which], data + 1, size - 1);
	}
	failed = pf_statedir_open(&dir, folder, PF_SOURCE, "vm7", &err);
	if (!failed && tries[which])
		failed = tries[which](&dir, &err);
	FUZZ_ASSERT(!failed || (err.class == PF_ERR_CONFIG && err.text[0]));
	pf_statedir_close(&dir);
	return 0;
}
