/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/guest/test-guest.c - the oracle on trial: it calls right what is right, in place and after
 * a move, and every damage by its address.
 *
 * Each test runs with /dev/kvm and with threads; without /dev/kvm the first ones are skipped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "memory/gmem_probe.h"
#include "tests/guest/agent_double.h"
#include "tests/guest/layout.h"
#include "tests/guest/vm_process.h"

#define MIB (1u << 20)

static char directory[] = "/tmp/pageferry-guest-XXXXXX";
static char seed[16];

static void need_backend(const char *backend)
{
	if (strcmp(backend, "kvm") == 0 && access("/dev/kvm", R_OK | W_OK) != 0) {
		fprintf(stderr, "skipped: no /dev/kvm\n");
		skip();
	}
}

static void start_solo(struct pf_vm *vm, const char *backend, const char *memory, const char *vcpus)
{
	need_backend(backend);
	pf_vm_start(vm, &(struct pf_vm_options){.role = "solo",
						.memory = memory,
						.vcpus = vcpus,
						.seed = seed,
						.backend = backend});
	pf_vm_expect(vm, "running");
}

/* Until the guest has done so many visits more; its own count says so, no time does. */
static uint64_t let_it_run(struct pf_vm *vm, uint64_t visits)
{
	uint64_t target = 0, now;
	char text[64];

	do {
		pf_vm_say(vm, "status");
		pf_vm_skip_to(vm, "visits: ", text, sizeof(text));
		now = strtoull(text, NULL, 10);
		if (target == 0)
			target = now + visits;
	} while (now < target);
	return now;
}

static uint64_t report_number(struct pf_vm *vm, const char *prefix)
{
	char text[64];

	pf_vm_skip_to(vm, prefix, text, sizeof(text));
	return strtoull(text, NULL, 10);
}

static void expect_identical(struct pf_vm *vm, uint64_t bytes)
{
	char expected[64], verdict[256];

	pf_vm_skip_to(vm, "verdict: ", verdict, sizeof(verdict));
	snprintf(expected, sizeof(expected), "identical (%llu bytes)", (unsigned long long)bytes);
	assert_string_equal(verdict, expected);
	assert_int_equal(pf_vm_wait(vm), 0);
}

static void expect_different(struct pf_vm *vm, uint64_t address, unsigned expected, unsigned found)
{
	char wanted[128], verdict[256];

	pf_vm_skip_to(vm, "verdict: ", verdict, sizeof(verdict));
	snprintf(wanted, sizeof(wanted), "DIFFERENT at 0x%llx expected 0x%02x found 0x%02x",
		 (unsigned long long)address, expected, found);
	assert_string_equal(verdict, wanted);
	assert_int_equal(pf_vm_wait(vm), 1);
}

/* --- in place --- */

static void check_solo(const char *backend, const char *vcpus)
{
	struct pf_vm vm;
	uint64_t seen, visits;
	char text[64];

	start_solo(&vm, backend, "64M", vcpus);
	seen = let_it_run(&vm, 2000);
	pf_vm_say(&vm, "finish");
	pf_vm_expect_prefix(&vm, "backend: ", text, sizeof(text));
	assert_string_equal(text, backend);
	pf_vm_expect_prefix(&vm, "vcpus: ", text, sizeof(text));
	assert_string_equal(text, vcpus);
	assert_int_equal(report_number(&vm, "memory-bytes: "), 64 * MIB);
	visits = report_number(&vm, "visits: ");
	assert_true(visits >= seen);
	assert_int_equal(report_number(&vm, "visits-here: "), visits);
	assert_true(report_number(&vm, "pages-touched-here: ") >= 2000);
	assert_int_equal(report_number(&vm, "heartbeats: ") * PF_GUEST_VISITS_PER_BEAT, visits);
	assert_true(report_number(&vm, "worst-stall-us: ") > 0);
	assert_int_equal(report_number(&vm, "downtime-guest-us: "), 0);
	expect_identical(&vm, 64 * MIB);
}

static void a_guest_that_stays_is_identical(void **state)
{
	check_solo(*state, "1");
	check_solo(*state, "2");
	check_solo(*state, "4");
}

static void every_size_and_count_of_vcpus_is_covered(void **state)
{
	struct pf_vm vm;

	start_solo(&vm, *state, "17420K", "3");
	let_it_run(&vm, 9000); /* more than two rounds */
	pf_vm_say(&vm, "finish");
	expect_identical(&vm, 17420 * 1024);
}

/* --- damage --- */

static void check_damage(const char *backend, uint64_t address)
{
	pf_auto_fd int memory = -1;
	struct pf_vm vm;
	unsigned char before;

	start_solo(&vm, backend, "16M", "2");
	memory = pf_vm_open_memory(&vm);
	let_it_run(&vm, 100);
	before = pf_vm_damage(memory, address, 0x40);
	pf_vm_say(&vm, "finish");
	expect_different(&vm, address, before, before ^ 0x40);
}

static void one_damaged_byte_is_named(void **state)
{
	check_damage(*state, 0x0);
	check_damage(*state, PF_GUEST_LOW_END - 1);
	check_damage(*state, PF_GUEST_WALKS + 3 * PF_GUEST_WALK_SPACING); /* of no vCPU */
	/* Odd words are never rewritten, so the damage cannot vanish. */
	check_damage(*state, PF_GUEST_LOW_END + 7);
	check_damage(*state, 0x765000 + 4 * 333);
	check_damage(*state, 0x800000 + 4 * 1 + 2); /* first page of the second region */
	check_damage(*state, 16 * MIB - 1);
}

/* A guest_memfd that can be mapped will do: Linux 6.18. */
static void need_guest_memfd(void)
{
	static struct pf_gmem_probe probe;

	pf_gmem_probe(&probe);
	if (!probe.feature[PF_GMEM_FILE].works) {
		fprintf(stderr, "skipped: %s\n", probe.feature[PF_GMEM_FILE].why.text);
		skip();
	}
}

static void start_on_gmem(struct pf_vm *vm, const char *kinds)
{
	pf_vm_start(vm, &(struct pf_vm_options){.role = "solo",
						.memory = "16M",
						.vcpus = "2",
						.seed = seed,
						.backend = "kvm",
						.kinds = kinds});
	pf_vm_expect(vm, "running");
}

static void a_guest_on_guest_memfd_is_identical_in_place(void **state)
{
	struct pf_vm vm;

	(void)state;
	need_guest_memfd();
	start_on_gmem(&vm, "guest_memfd-unwritable,memfd,guest_memfd-unwritable");
	let_it_run(&vm, 9000);
	pf_vm_say(&vm, "finish");
	expect_identical(&vm, 16 * MIB);
}

static void check_gmem_damage(uint64_t address)
{
	pf_auto_fd int memory = -1;
	struct pf_vm vm;
	unsigned char before;
	uint64_t at;

	start_on_gmem(&vm, "guest_memfd-unwritable,guest_memfd-unwritable");
	assert_true(pf_vm_find_gmem(&vm, address, &memory, &at));
	let_it_run(&vm, 100);
	before = pf_vm_damage(memory, at, 0x40);
	pf_vm_say(&vm, "finish");
	expect_different(&vm, address, before, before ^ 0x40);
}

static void one_damaged_byte_of_guest_memfd_is_named(void **state)
{
	(void)state;
	need_guest_memfd();
	check_gmem_damage(PF_GUEST_LOW_END + 7);
	check_gmem_damage(0x800000 + 4 * 1 + 2);
	check_gmem_damage(16 * MIB - 1);
}

/* The image's last byte is data that the guest never looks at: it runs on, and is found out. */
static void a_damaged_guest_program_is_named(void **state)
{
	pf_auto_fd int memory = -1;
	struct pf_vm vm;
	uint64_t address = PF_GUEST_STACKS;
	unsigned char byte = 0;

	start_solo(&vm, *state, "16M", "2");
	memory = pf_vm_open_memory(&vm);
	while (byte == 0)
		assert_int_equal(pread(memory, &byte, 1, (off_t)--address), 1);
	assert_in_range(address, PF_GUEST_IMAGE, PF_GUEST_STACKS);
	assert_int_equal(pf_vm_damage(memory, address, 1), 't');
	pf_vm_say(&vm, "finish");
	expect_different(&vm, address, 't', 't' ^ 1);
}

/* Nobody asks: the guest itself reads a wrong word and says so. */
static void the_guest_itself_reports_a_wrong_word(void **state)
{
	const uint64_t page = 0x555000;
	pf_auto_fd int memory = -1;
	struct pf_vm vm;
	char verdict[256];
	unsigned long long address;
	unsigned expected, found;

	start_solo(&vm, *state, "16M", "4");
	memory = pf_vm_open_memory(&vm);
	for (uint64_t word = 1; word < 1024; word += 2)
		pf_vm_damage(memory, page + 4 * word + 3, 0x80);
	pf_vm_skip_to(&vm, "verdict: ", verdict, sizeof(verdict));
	assert_int_equal(sscanf(verdict, "DIFFERENT at 0x%llx expected 0x%x found 0x%x", &address,
				&expected, &found),
			 3);
	assert_int_equal(address / PF_GUEST_PAGE, page / PF_GUEST_PAGE);
	assert_int_equal(address % 8, 7);
	assert_int_equal(expected ^ found, 0x80);
	assert_int_equal(pf_vm_wait(&vm), 1);
}

/* --- pause and move --- */

struct move {
	struct pf_double source_agent, destination_agent;
	struct pf_vm source, destination;
	int state_fd;
	uint64_t state_size;
};

static void start_side(struct pf_double *agent, struct pf_vm *vm, const char *role,
		       const char *backend, const char *vcpus)
{
	pf_double_listen(agent, directory, role);
	pf_vm_start(vm, &(struct pf_vm_options){.role = role,
						.memory = "16M",
						.vcpus = vcpus,
						.seed = seed,
						.backend = backend,
						.socket = agent->path});
	pf_double_meet(agent);
}

static void start_move(struct move *move, const char *backend, const char *vcpus)
{
	need_backend(backend);
	start_side(&move->source_agent, &move->source, "source", backend, vcpus);
	pf_vm_expect(&move->source, "running");
	start_side(&move->destination_agent, &move->destination, "destination", backend, vcpus);
	pf_double_trap(&move->destination_agent);
	pf_vm_expect(&move->destination, "accepted");
}

static void pause_source(struct move *move)
{
	pf_double_tell(&move->source_agent, PF_VMM_PAUSE, -1, 0);
	move->state_fd = pf_double_wait_paused(&move->source_agent, &move->state_size);
	pf_vm_expect(&move->source, "paused");
}

static void load(struct move *move)
{
	struct pf_double *agent = &move->destination_agent;
	uint64_t faults = agent->faults;

	pf_double_tell(agent, PF_VMM_LOAD, move->state_fd, move->state_size);
	pf_double_serve_until(agent, move->source_agent.memory_fd, PF_VMM_READY);
	assert_true(agent->faults > faults); /* it looked at the generators in guest memory */
	pf_vm_expect(&move->destination, "loading");
	pf_vm_expect(&move->destination, "ready");
}

static void resume(struct move *move)
{
	struct pf_double *agent = &move->destination_agent;

	pf_double_tell(agent, PF_VMM_RESUME, -1, 0);
	pf_double_serve_until(agent, move->source_agent.memory_fd, PF_VMM_RESUMED);
	pf_vm_expect(&move->destination, "resumed");
}

static void switch_over(struct move *move)
{
	pause_source(move);
	load(move);
	resume(move);
}

/* The connection is lost: the source's guest runs on, and what the destination has is dropped. */
static void take_back(struct move *move, uint64_t visits)
{
	pf_double_tell(&move->source_agent, PF_VMM_CONTINUE_SOURCE, -1, 0);
	pf_vm_expect(&move->source, "continued");
	let_it_run(&move->source, visits);
	pf_double_drop_pages(&move->destination_agent);
}

static void end_source(struct move *move)
{
	pf_double_tell(&move->source_agent, PF_VMM_RELEASE, -1, 0);
	pf_vm_expect(&move->source, "released");
	pf_double_close(&move->source_agent);
	assert_int_equal(pf_vm_wait(&move->source), 0);
	pf_close_fd(&move->state_fd);
}

static void check_move(const char *backend, const char *vcpus, uint64_t visits_before)
{
	struct move move;
	struct pf_double *agent = &move.destination_agent;

	start_move(&move, backend, vcpus);
	let_it_run(&move.source, visits_before);
	switch_over(&move);
	/* Asked for too early: it waits for all pages. */
	pf_vm_say(&move.destination, "finish");
	pf_double_serve_all(agent, move.source_agent.memory_fd, 300);
	end_source(&move);
	pf_double_complete(agent);
	pf_vm_expect(&move.destination, "complete");
	assert_true(report_number(&move.destination, "visits: ") >= visits_before);
	assert_true(report_number(&move.destination, "pages-touched-here: ") > 0);
	assert_true(report_number(&move.destination, "downtime-guest-us: ") > 0);
	expect_identical(&move.destination, 16 * MIB);
	pf_double_close(agent);
}

static void a_guest_that_moved_is_identical(void **state)
{
	check_move(*state, "1", 500);
	check_move(*state, "2", 3000);
	check_move(*state, "4", 9000);
	check_move(*state, "3", 1);
}

/* The source, which has never left, goes on. */
static void take_back_for_good(struct move *move)
{
	pf_double_tell(&move->source_agent, PF_VMM_CONTINUE_SOURCE, -1, 0);
	pf_vm_expect(&move->source, "continued");
	pf_vm_say(&move->source, "finish");
	expect_identical(&move->source, 16 * MIB);
	pf_double_close(&move->source_agent);
	pf_close_fd(&move->state_fd);
}

static void complete_identical(struct move *move)
{
	struct pf_double *agent = &move->destination_agent;

	pf_double_serve_all(agent, move->source_agent.memory_fd, 100);
	end_source(move);
	pf_double_complete(agent);
	pf_vm_expect(&move->destination, "complete");
	pf_vm_say(&move->destination, "finish");
	expect_identical(&move->destination, 16 * MIB);
	pf_double_close(agent);
}

static void a_state_that_was_loaded_is_replaced_by_the_next(void **state)
{
	uint64_t visits, before = 0;
	struct move move;

	start_move(&move, *state, "3");
	for (int i = 0; i < 3; i++) {
		let_it_run(&move.source, 500);
		pause_source(&move);
		load(&move);
		/* Loaded and stopped: nobody runs a guest that may yet be another. */
		visits = let_it_run(&move.destination, 0);
		assert_true(visits > before);
		assert_int_equal(let_it_run(&move.destination, 0), visits);
		before = visits;
		take_back(&move, 500);
		pf_close_fd(&move.state_fd);
	}
	switch_over(&move);
	complete_identical(&move);
}

/* It blocks in the memory of one switch-over, and what it gets is the memory of the next. */
static void a_load_that_is_overtaken_does_not_end_the_vmm(void **state)
{
	struct pf_double *agent;
	struct move move;

	start_move(&move, *state, "2");
	agent = &move.destination_agent;
	pause_source(&move);
	pf_double_tell(agent, PF_VMM_LOAD, move.state_fd, move.state_size);
	pf_vm_expect(&move.destination, "loading");
	pf_double_wait_fault(agent);
	take_back(&move, 500);
	pf_close_fd(&move.state_fd);
	pause_source(&move);
	pf_double_serve_until(agent, move.source_agent.memory_fd, PF_VMM_READY);
	pf_vm_expect(&move.destination, "ready");
	pf_double_drop_pages(agent);
	load(&move);
	resume(&move);
	complete_identical(&move);
}

static void a_state_that_does_not_fit_memory_is_not_run(void **state)
{
	struct move move;
	char reason[512];
	int old_state;

	start_move(&move, *state, "2");
	pause_source(&move);
	old_state = pf_steal_fd(&move.state_fd);
	take_back(&move, 500);
	pause_source(&move);
	pf_close_fd(&move.state_fd);
	move.state_fd = old_state;
	load(&move);
	pf_double_tell(&move.destination_agent, PF_VMM_RESUME, -1, 0);
	pf_double_serve_until(&move.destination_agent, move.source_agent.memory_fd,
			      PF_VMM_RESUME_REFUSED);
	pf_vm_expect_prefix(&move.destination, "error: ", reason, sizeof(reason));
	assert_non_null(strstr(reason, "visits, guest memory says"));
	pf_double_close(&move.destination_agent);
	pf_vm_say(&move.destination, "quit");
	assert_int_equal(pf_vm_wait(&move.destination), 0);
	take_back_for_good(&move);
}

static void a_byte_lost_on_the_way_is_named(void **state)
{
	const uint64_t address = 0x999000 + 4 * 777;
	struct move move;
	unsigned char before;

	start_move(&move, *state, "2");
	let_it_run(&move.source, 500);
	switch_over(&move);
	pf_double_serve_all(&move.destination_agent, move.source_agent.memory_fd, 100);
	end_source(&move);
	pf_double_complete(&move.destination_agent);
	pf_vm_expect(&move.destination, "complete");
	/* Not before: the guest may find it, and the VMM end, while it is still being served. */
	before = pf_vm_damage(move.destination_agent.memory_fd, address, 0xff);
	pf_vm_say(&move.destination, "finish");
	expect_different(&move.destination, address, before, before ^ 0xff);
	pf_double_close(&move.destination_agent);
}

/* The VMM does not wait for the end of a migration that has gone wrong. */
static void a_wrong_page_is_reported_before_the_end(void **state)
{
	const uint64_t page = 0x999000;
	struct move move;
	char verdict[256];
	unsigned long long address;

	start_move(&move, *state, "2");
	switch_over(&move);
	pf_double_serve_all(&move.destination_agent, move.source_agent.memory_fd, 100);
	for (uint64_t word = 1; word < 1024; word += 2)
		pf_vm_damage(move.destination_agent.memory_fd, page + 4 * word, 0x01);
	pf_double_serve_until_gone(&move.destination_agent, move.source_agent.memory_fd);
	pf_vm_skip_to(&move.destination, "verdict: ", verdict, sizeof(verdict));
	assert_int_equal(sscanf(verdict, "DIFFERENT at 0x%llx", &address), 1);
	assert_int_equal(address / PF_GUEST_PAGE, page / PF_GUEST_PAGE);
	assert_int_equal(pf_vm_wait(&move.destination), 1);
	pf_double_close(&move.destination_agent);
	end_source(&move);
}

/* Stopped 40 times at whatever instruction it was at, it is still the same guest. */
static void a_source_can_be_paused_and_continued(void **state)
{
	struct pf_double agent;
	struct pf_vm vm;

	need_backend(*state);
	start_side(&agent, &vm, "source", *state, "4");
	pf_vm_expect(&vm, "running");
	for (int i = 0; i < 40; i++) {
		pf_auto_fd int state_fd = -1;
		uint64_t size, visits;
		char text[64];

		let_it_run(&vm, 1);
		pf_double_tell(&agent, PF_VMM_PAUSE, -1, 0);
		state_fd = pf_double_wait_paused(&agent, &size);
		pf_vm_expect(&vm, "paused");
		visits = let_it_run(&vm, 0);
		pf_vm_say(&vm, "status");
		pf_vm_skip_to(&vm, "visits: ", text, sizeof(text));
		assert_int_equal(strtoull(text, NULL, 10), visits);
		pf_double_tell(&agent, PF_VMM_CONTINUE_SOURCE, -1, 0);
		pf_vm_expect(&vm, "continued");
	}
	pf_vm_say(&vm, "finish");
	expect_identical(&vm, 16 * MIB);
	pf_double_close(&agent);
}

static void damaged_device_state_is_refused(void **state)
{
	struct move move;
	char reason[512];
	unsigned char *copy;
	pf_auto_fd int damaged = memfd_create("damaged", MFD_CLOEXEC);

	start_move(&move, *state, "1");
	pause_source(&move);
	copy = malloc(move.state_size);
	assert_non_null(copy);
	assert_int_equal(pread(move.state_fd, copy, move.state_size, 0), move.state_size);
	copy[move.state_size / 2] ^= 1;
	assert_int_equal(pwrite(damaged, copy, move.state_size, 0), move.state_size);
	free(copy);
	pf_double_tell(&move.destination_agent, PF_VMM_LOAD, damaged, move.state_size);
	pf_vm_expect(&move.destination, "loading");
	pf_vm_expect_prefix(&move.destination, "error: ", reason, sizeof(reason));
	assert_non_null(strstr(reason, "checksum"));
	pf_double_serve_until_gone(&move.destination_agent, move.source_agent.memory_fd);
	assert_int_equal(pf_vm_wait(&move.destination), 0);
	pf_double_close(&move.destination_agent);
	take_back_for_good(&move);
}

static int choose_seed(void **state)
{
	const char *given = getenv("PAGEFERRY_SEED");
	uint64_t chosen = given ? strtoull(given, NULL, 0) : pf_now_ns();

	(void)state;
	snprintf(seed, sizeof(seed), "%u", (uint32_t)chosen);
	fprintf(stderr, "PAGEFERRY_SEED=%s\n", seed);
	return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
	(void)state;
	return rmdir(directory);
}

#define ON(test, backend)                                                                          \
	{                                                                                          \
#test " (" backend ")", test, NULL, NULL, (void *)(uintptr_t)backend               \
	}
#define ON_BOTH(test) ON(test, "kvm"), ON(test, "threads")

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOTH(a_guest_that_stays_is_identical),
		ON_BOTH(every_size_and_count_of_vcpus_is_covered),
		ON_BOTH(one_damaged_byte_is_named),
		cmocka_unit_test(a_guest_on_guest_memfd_is_identical_in_place),
		cmocka_unit_test(one_damaged_byte_of_guest_memfd_is_named),
		ON_BOTH(a_damaged_guest_program_is_named),
		ON_BOTH(the_guest_itself_reports_a_wrong_word),
		ON_BOTH(a_source_can_be_paused_and_continued),
		ON_BOTH(a_guest_that_moved_is_identical),
		ON_BOTH(a_state_that_was_loaded_is_replaced_by_the_next),
		ON_BOTH(a_load_that_is_overtaken_does_not_end_the_vmm),
		ON_BOTH(a_state_that_does_not_fit_memory_is_not_run),
		ON_BOTH(a_byte_lost_on_the_way_is_named),
		ON_BOTH(a_wrong_page_is_reported_before_the_end),
		ON_BOTH(damaged_device_state_is_refused),
	};

	/* In tests/kernel's kernel for the sake of KVM; the others have run outside of it. */
	if (getenv("PAGEFERRY_KERNEL"))
		cmocka_set_skip_filter("*(threads)");
	return cmocka_run_group_tests(tests, choose_seed, remove_directory);
}
