/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/test-vmm-again.c - a VMM whose agent is another process than before: it says how it is, and
 * takes once more what it has heard already.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tests/unit/vmm_scene.h"

#define SRC PAGEFERRY_SOURCE
#define DST PAGEFERRY_DESTINATION

/* What the agent has said to a VMM, and how that has answered. */
static const struct history {
	const char *name;
	enum pageferry_role role;
	enum pf_vmm_type said[5]; /* 0 ends it */
	bool answers;
	enum pf_vmm_stage stage;
	uint32_t owed;
	enum pf_vmm_type repeats[3]; /* what may be said once more, and calls nothing */
} histories[] = {
	{"a guest that runs", SRC, {0}, true, PF_VMM_FRESH, 0, {PF_VMM_CONTINUE_SOURCE}},
	{"one that is asked to pause", SRC, {PF_VMM_PAUSE}, false, PF_VMM_FRESH, 1, {0}},
	{"one that stands", SRC, {PF_VMM_PAUSE}, true, PF_VMM_STANDS, 0, {0}},
	{"one that runs again", SRC, {PF_VMM_PAUSE, PF_VMM_CONTINUE_SOURCE}, true, PF_VMM_FRESH, 0,
	 {PF_VMM_CONTINUE_SOURCE}},
	{"one that was released", SRC, {PF_VMM_PAUSE, PF_VMM_RELEASE}, true, PF_VMM_STANDS, 0,
	 {PF_VMM_RELEASE}},
	{"one that waits", DST, {0}, true, PF_VMM_FRESH, 0, {0}},
	{"one that is trapped", DST, {PF_VMM_REGIONS_ACCEPTED}, true, PF_VMM_ACCEPTED, 0,
	 {PF_VMM_REGIONS_ACCEPTED}},
	{"one that loads twice", DST, {PF_VMM_REGIONS_ACCEPTED, PF_VMM_LOAD, PF_VMM_LOAD}, false,
	 PF_VMM_ACCEPTED, 2, {PF_VMM_REGIONS_ACCEPTED}},
	{"one that has loaded", DST, {PF_VMM_REGIONS_ACCEPTED, PF_VMM_LOAD}, true, PF_VMM_LOADED, 0,
	 {PF_VMM_REGIONS_ACCEPTED}},
	{"one that runs here", DST, {PF_VMM_REGIONS_ACCEPTED, PF_VMM_LOAD, PF_VMM_RESUME}, true,
	 PF_VMM_RUNS, 0, {PF_VMM_REGIONS_ACCEPTED, PF_VMM_RESUME}},
	{"one that is complete", DST,
	 {PF_VMM_REGIONS_ACCEPTED, PF_VMM_LOAD, PF_VMM_RESUME, PF_VMM_COMPLETE}, true, PF_VMM_RUNS, 0,
	 {PF_VMM_COMPLETE}},
};

static void say_to_vmm(struct scene *scene, enum pf_vmm_type type)
{
	if (type == PF_VMM_LOAD)
		agent_says_load(scene, 1, 1);
	else
		agent_says_word(scene, type);
}

static void agent_asks(struct scene *scene, enum pf_vmm_type type)
{
	say_to_vmm(scene, type);
	assert_int_equal(pageferry_vmm_dispatch(scene->vmm), 0);
	pf_close_fd(&scene->state_fd);
}

static void live(struct scene *scene, const struct history *history)
{
	scene->answer = history->answers;
	begin(scene, history->role);
	for (unsigned i = 0; history->said[i]; i++)
		agent_asks(scene, history->said[i]);
	scene->told[0] = '\0';
}

/* Past what it had said before. */
static void hear_hello(struct scene *scene, const struct history *history)
{
	struct pf_vmm_hello *hello = &scene->heard.hello;

	do {
		uint8_t bytes[PF_VMM_MESSAGE_MAX];
		struct pf_err err = {0};
		ssize_t length;

		while (scene->fd_count > 0)
			close(scene->fds[--scene->fd_count]);
		length = pf_unix_recv(scene->agent, bytes, sizeof(bytes), MSG_DONTWAIT, scene->fds,
				      &scene->fd_count, &err);
		assert_true(length > 0);
		assert_int_equal(pf_vmm_msg_unpack(bytes, (size_t)length, false, scene->fd_count,
						   &scene->heard, &err), 0);
	} while (scene->heard.type != PF_VMM_HELLO || hello->attach != 71);
	if (hello->stage != history->stage || hello->owed != history->owed)
		fail_msg("%s: stage %d, owed %u", history->name, (int)hello->stage, hello->owed);
	assert_int_equal(hello->vcpu_count, 2);
	assert_int_equal(hello->vcpu_tid[1], 1002);
	assert_int_equal(hello->destination, history->role == DST);
}

static void try_repeats(struct scene *scene, const struct history *history)
{
	for (unsigned i = 0; i < PF_ARRAY_LEN(history->repeats) && history->repeats[i]; i++) {
		agent_says_word(scene, history->repeats[i]);
		dispatch(scene, "");
	}
}

static void it_says_how_it_is_and_takes_repeats(void **state)
{
	for (size_t i = 0; i < PF_ARRAY_LEN(histories); i++) {
		struct scene *scene;

		set_up(state);
		scene = *state;
		live(scene, &histories[i]);
		/* The first of two processes has not lived to read the answer. */
		for (uint32_t number = 70; number < 72; number++)
			agent_says(scene, &(struct pf_vmm_message){.type = PF_VMM_ATTACH,
								   .attach = number}, NULL, 0);
		dispatch(scene, "");
		hear_hello(scene, &histories[i]);
		agent_hears_nothing(scene);
		try_repeats(scene, &histories[i]);
		tear_down(state);
	}
}

static void a_repeat_is_an_error_of_an_agent_that_was_not_started_again(void **state)
{
	for (size_t i = 0; i < PF_ARRAY_LEN(histories); i++) {
		struct scene *scene;

		if (!histories[i].repeats[0])
			continue;
		set_up(state);
		scene = *state;
		live(scene, &histories[i]);
		agent_says_word(scene, histories[i].repeats[0]);
		assert_int_equal(pageferry_vmm_dispatch(scene->vmm), -1);
		tear_down(state);
	}
}

/* ---- the agent itself is gone ---- */

static void another_agent_listens(struct scene *scene)
{
	struct pf_err err;

	scene->listen_fd = pf_unix_listen(scene->path, SOCK_SEQPACKET, &err);
	assert_true(scene->listen_fd >= 0);
}

static void the_agent_goes(struct scene *scene)
{
	pf_close_fd(&scene->agent);
	pf_close_fd(&scene->listen_fd);
	assert_int_equal(pageferry_vmm_dispatch(scene->vmm), -1);
	assert_int_equal(pageferry_vmm_reattach(scene->vmm), 1);
}

static void agent_asks_and_goes(struct scene *scene, enum pf_vmm_type type)
{
	say_to_vmm(scene, type);
	the_agent_goes(scene);
	pf_close_fd(&scene->state_fd);
}

static int say_paused(struct pageferry_vmm *vmm)
{
	return pageferry_vmm_paused(vmm, "device state", 12);
}

static void another_agent_comes(struct scene *scene)
{
	another_agent_listens(scene);
	assert_int_equal(pageferry_vmm_reattach(scene->vmm), 0);
	scene->agent = accept4(scene->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	assert_true(scene->agent >= 0);
}

/* With descriptors that stay open, as a VMM's do; two vCPUs wait for pages. */
static void run_on_guest_memfd(struct scene *scene, const int fds[3])
{
	const struct pageferry_region region = {
		.size = MIB, .page_size = 4096, .kind = PAGEFERRY_GUEST_MEMFD, .fd = fds[0],
		.uffd = fds[1], .bitmap_fd = fds[2], .base = 0x7f0000000000};

	connect_as(scene, DST);
	agent_hears(scene, PF_VMM_HELLO);
	assert_int_equal(pageferry_vmm_regions(scene->vmm, &region, 1), 0);
	agent_says_word(scene, PF_VMM_REGIONS_ACCEPTED);
	agent_says_load(scene, 1, 1);
	agent_says_word(scene, PF_VMM_RESUME);
	dispatch(scene, "regions_accepted load resume ");
	assert_int_equal(pageferry_vmm_fault(scene->vmm, 1, 0x3000), 0);
	assert_int_equal(pageferry_vmm_fault(scene->vmm, 7, 0x5000), 0);
}

static void hear_fault(int fd, uint32_t vcpu, uint64_t gpa)
{
	uint8_t bytes[PF_VMM_FAULT_BYTES];
	ssize_t length = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	struct pf_vmm_fault fault;
	struct pf_err err;

	assert_true(length > 0);
	assert_int_equal(pf_vmm_fault_unpack(bytes, (size_t)length, PF_VMM_FAULT, &fault, &err), 0);
	assert_int_equal(fault.vcpu, vcpu);
	assert_int_equal(fault.gpa, gpa);
}

/* More than the socket holds, and nobody waits for room: each dispatch sends what there is room for. */
static void another_agent_hears_of_more_vcpus_than_the_socket_holds(void **state)
{
	struct scene *scene = *state;
	uint8_t bytes[PF_VMM_FAULT_BYTES];
	uint32_t heard = 0, first = 0;
	int fds[3], agent;

	for (unsigned i = 0; i < 3; i++)
		fds[i] = memfd_create("kept", MFD_CLOEXEC);
	run_on_guest_memfd(scene, fds);
	agent_hears(scene, PF_VMM_REGIONS);
	agent = scene->fds[scene->heard.regions.fault_socket];
	for (uint32_t vcpu = 0; vcpu < PF_VMM_VCPUS_MAX; vcpu++) {
		assert_int_equal(pageferry_vmm_fault(scene->vmm, vcpu, 0x3000), 0);
		while (recv(agent, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
			;
	}
	the_agent_goes(scene);
	another_agent_comes(scene);
	agent_hears(scene, PF_VMM_HELLO);
	agent_hears(scene, PF_VMM_REGIONS);
	agent = scene->fds[scene->heard.regions.fault_socket];
	do {
		first = heard;
		while (recv(agent, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
			heard++;
		assert_int_equal(pageferry_vmm_faults_unsent(scene->vmm), heard < PF_VMM_VCPUS_MAX);
		assert_int_equal(pageferry_vmm_dispatch_faults(scene->vmm), 0);
	} while (heard > first);
	assert_int_equal(heard, PF_VMM_VCPUS_MAX);
	for (unsigned i = 0; i < 3; i++)
		close(fds[i]);
}

static void *reattach_without_memory(void *opaque)
{
	struct scene *scene = opaque;

	send_nothing();
	return pageferry_vmm_reattach(scene->vmm) == 0 ? scene : NULL;
}

/* At the limit of its control group: it is told later of who waits, by whoever dispatches. */
static void another_agent_hears_of_vcpus_when_there_is_memory(void **state)
{
	struct scene *scene = *state;
	pthread_t thread;
	void *attached;
	int fds[3], agent;

	for (unsigned i = 0; i < 3; i++)
		fds[i] = memfd_create("kept", MFD_CLOEXEC);
	run_on_guest_memfd(scene, fds);
	the_agent_goes(scene);
	another_agent_listens(scene);
	assert_int_equal(pthread_create(&thread, NULL, reattach_without_memory, scene), 0);
	pthread_join(thread, &attached);
	assert_ptr_equal(attached, scene);
	scene->agent = accept4(scene->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	agent_hears(scene, PF_VMM_HELLO);
	agent_hears(scene, PF_VMM_REGIONS);
	agent = scene->fds[scene->heard.regions.fault_socket];
	assert_true(pageferry_vmm_faults_unsent(scene->vmm));
	assert_int_equal(pageferry_vmm_dispatch_faults(scene->vmm), 0);
	assert_false(pageferry_vmm_faults_unsent(scene->vmm));
	hear_fault(agent, 1, 0x3000);
	hear_fault(agent, 7, 0x5000);
	for (unsigned i = 0; i < 3; i++)
		close(fds[i]);
}

static void another_agent_hears_all_of_it(void **state)
{
	struct scene *scene = *state;
	int fds[3], poll_fds[2];

	for (unsigned i = 0; i < 3; i++)
		fds[i] = memfd_create("kept", MFD_CLOEXEC);
	run_on_guest_memfd(scene, fds);
	poll_fds[0] = pageferry_vmm_fd(scene->vmm);
	poll_fds[1] = pageferry_vmm_fault_fd(scene->vmm);
	the_agent_goes(scene);
	another_agent_comes(scene);
	assert_int_equal(pageferry_vmm_fd(scene->vmm), poll_fds[0]);
	assert_int_equal(pageferry_vmm_fault_fd(scene->vmm), poll_fds[1]);
	agent_hears(scene, PF_VMM_HELLO);
	assert_int_equal(scene->heard.hello.stage, PF_VMM_RUNS);
	assert_int_equal(scene->heard.hello.attach, 0);
	agent_hears(scene, PF_VMM_REGIONS);
	assert_int_equal(scene->fd_count, 4);
	hear_fault(scene->fds[scene->heard.regions.fault_socket], 1, 0x3000);
	hear_fault(scene->fds[scene->heard.regions.fault_socket], 7, 0x5000);
	agent_says_word(scene, PF_VMM_REGIONS_ACCEPTED);
	agent_says_word(scene, PF_VMM_RESUME);
	dispatch(scene, "");
	agent_says_word(scene, PF_VMM_COMPLETE);
	dispatch(scene, "resolved 1 at 0x3000 resolved 7 at 0x5000 complete ");
	for (unsigned i = 0; i < 3; i++)
		close(fds[i]);
}

/* Its worker was killed, and the next one as soon as it had asked. */
static void an_agent_that_goes_before_it_is_answered_has_gone(void **state)
{
	struct scene *scene = *state;

	begin(scene, DST);
	agent_says(scene, &(struct pf_vmm_message){.type = PF_VMM_ATTACH, .attach = 7}, NULL, 0);
	agent_says_word(scene, PF_VMM_REGIONS_ACCEPTED);
	pf_close_fd(&scene->agent);
	pf_close_fd(&scene->listen_fd);
	assert_int_equal(pageferry_vmm_dispatch(scene->vmm), -1);
	assert_int_equal(pageferry_vmm_reattach(scene->vmm), 1);
	another_agent_comes(scene);
	agent_hears(scene, PF_VMM_HELLO);
	assert_int_equal(scene->heard.hello.stage, PF_VMM_ACCEPTED);
}

/* It goes before it hears the answer, or before the VMM has one: the next is told, which asks nobody again. */
static void what_was_said_to_nobody_the_next_agent_is_told(void **state)
{
	static const struct {
		enum pageferry_role role;
		enum pf_vmm_type before[2], last; /* what the agent says before it goes */
		int (*answer)(struct pageferry_vmm *vmm);
		enum pf_vmm_stage stage;
	} rows[] = {
		{SRC, {0}, PF_VMM_PAUSE, say_paused, PF_VMM_STANDS},
		{DST, {PF_VMM_REGIONS_ACCEPTED}, PF_VMM_LOAD, pageferry_vmm_ready, PF_VMM_LOADED},
		{DST, {PF_VMM_REGIONS_ACCEPTED, PF_VMM_LOAD}, PF_VMM_RESUME, pageferry_vmm_resumed,
		 PF_VMM_RUNS},
	};

	for (size_t i = 0; i < 2 * PF_ARRAY_LEN(rows); i++) {
		bool at_once = i % 2 == 0;
		struct scene *scene;

		set_up(state);
		scene = *state;
		begin(scene, rows[i / 2].role);
		for (unsigned k = 0; k < 2 && rows[i / 2].before[k]; k++)
			agent_asks(scene, rows[i / 2].before[k]);
		scene->answer = at_once;
		agent_asks_and_goes(scene, rows[i / 2].last);
		if (!at_once)
			assert_int_equal(rows[i / 2].answer(scene->vmm), 0);
		another_agent_comes(scene);
		agent_hears(scene, PF_VMM_HELLO);
		assert_int_equal(scene->heard.hello.stage, rows[i / 2].stage);
		assert_int_equal(scene->heard.hello.owed, 0);
		tear_down(state);
	}
}

static void a_vmm_that_described_nothing_greets_and_describes(void **state)
{
	struct scene *scene = *state;

	connect_as(scene, SRC);
	assert_int_equal(pageferry_vmm_reattach(scene->vmm), -1);
	the_agent_goes(scene);
	another_agent_comes(scene);
	agent_hears(scene, PF_VMM_HELLO);
	assert_int_equal(scene->heard.hello.stage, PF_VMM_FRESH);
	agent_hears_nothing(scene);
	describe(scene, false);
	agent_hears(scene, PF_VMM_REGIONS);
}

static void a_migration_that_has_ended_needs_no_agent(void **state)
{
	struct scene *scene = *state;

	live(scene, &histories[4]);
	pf_close_fd(&scene->agent);
	assert_int_equal(pageferry_vmm_dispatch(scene->vmm), -1);
	assert_fails_with(scene, pageferry_vmm_reattach(scene->vmm),
			  "pageferry_vmm_reattach: not possible after its migration ended");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_says_how_it_is_and_takes_repeats),
		cmocka_unit_test(a_repeat_is_an_error_of_an_agent_that_was_not_started_again),
		TEST(another_agent_hears_all_of_it),
		TEST(another_agent_hears_of_more_vcpus_than_the_socket_holds),
		TEST(another_agent_hears_of_vcpus_when_there_is_memory),
		TEST(an_agent_that_goes_before_it_is_answered_has_gone),
		cmocka_unit_test(what_was_said_to_nobody_the_next_agent_is_told),
		TEST(a_vmm_that_described_nothing_greets_and_describes),
		TEST(a_migration_that_has_ended_needs_no_agent),
	};

	return cmocka_run_group_tests_name("vmm-again", tests, NULL, NULL);
}
