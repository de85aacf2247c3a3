/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/test-vmm-lib.c - the client library for VMMs, against an agent played by the test:
 * both roles from beginning to end, wrong turns on both sides, descriptors.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tests/unit/vmm_scene.h"

static void hello_says_role_version_and_threads(void **state)
{
	struct scene *scene = *state;

	connect_as(scene, PAGEFERRY_DESTINATION);
	assert_string_equal(pageferry_vmm_error(scene->vmm), "");
	agent_hears(scene, PF_VMM_HELLO);
	assert_int_equal(scene->heard.hello.version, PF_VMM_VERSION);
	assert_true(scene->heard.hello.destination);
	assert_int_equal(scene->heard.hello.vcpu_count, 2);
	assert_int_equal(scene->heard.hello.vcpu_tid[1], 1002);
	agent_hears_nothing(scene);
}

static void regions_share_their_descriptors(void **state)
{
	struct scene *scene = *state;

	connect_as(scene, PAGEFERRY_DESTINATION);
	agent_hears(scene, PF_VMM_HELLO);
	describe(scene, true);
	agent_hears(scene, PF_VMM_REGIONS);
	assert_int_equal(scene->fd_count, 2 + 2); /* and a bitmap of lost pages of each */
	assert_int_equal(scene->heard.regions.count, 2);
	assert_int_not_equal(scene->heard.regions.region[0].bitmap_fd, scene->heard.regions.region[1].bitmap_fd);
	assert_true(scene->heard.regions.no_other_mappings);
	assert_int_equal(scene->heard.regions.region[0].id, 2);
	assert_int_equal(scene->heard.regions.region[0].fd, scene->heard.regions.region[1].fd);
	assert_int_equal(scene->heard.regions.region[0].mapping[0].uffd,
			 scene->heard.regions.region[1].mapping[0].uffd);
	assert_int_equal(scene->heard.regions.region[0].mapping[0].base, 0x7f0001000000);
	assert_int_equal(scene->heard.regions.region[0].offset, 16 * MIB);
	assert_true(scene->heard.regions.region[0].discards);
	assert_false(scene->heard.regions.region[1].discards);
}

static void more_mappings_and_what_is_populated_are_told(void **state)
{
	const struct pageferry_range ranges[] = {{0, 2}, {255, 1}};
	struct pageferry_mapping more = {.base = 0x7f0002000000};
	struct pageferry_region regions[] = {
		{.id = 1, .size = MIB, .page_size = 4096, .kind = PAGEFERRY_MEMFD,
		 .base = 0x7f0000000000, .more = &more, .more_count = 1,
		 .populated = PAGEFERRY_POPULATED_LIST, .ranges = ranges, .range_count = 2},
		{.id = 2, .gpa = MIB, .size = MIB, .page_size = 4096, .kind = PAGEFERRY_PRIVATE,
		 .fd = -1, .base = 0x7f0001000000},
	};
	struct scene *scene = *state;
	const struct pf_vmm_regions *heard = &scene->heard.regions;

	connect_as(scene, PAGEFERRY_DESTINATION);
	agent_hears(scene, PF_VMM_HELLO);
	regions[0].fd = scene->agent;
	regions[0].uffd = more.uffd = regions[1].uffd = scene->listen_fd;
	assert_int_equal(pageferry_vmm_regions(scene->vmm, regions, 2), 0);
	agent_hears(scene, PF_VMM_REGIONS);
	assert_int_equal(heard->region[0].mapping_count, 2);
	assert_int_equal(heard->region[0].mapping[1].base, more.base);
	assert_int_equal(heard->region[0].populated, PF_POPULATED_LIST);
	assert_int_equal(heard->region[0].populated_count, 2);
	assert_int_equal(heard->range[heard->region[0].populated_first + 1].first, 255);
	assert_int_equal(heard->region[1].populated, PF_POPULATED_NONE);
	assert_int_equal(heard->region[1].fd, PF_VMM_NO_FD);
}

static void what_does_not_fit_one_message_is_refused(void **state)
{
	static struct pageferry_range ranges[PF_VMM_RANGES_MAX + 1];
	const struct pageferry_mapping more[PF_VMM_MAPPINGS_MAX] = {{0, 4096}};
	struct pageferry_region region = {.id = 5, .size = MIB, .page_size = 4096,
					  .kind = PAGEFERRY_MEMFD, .base = 4096, .more = more,
					  .more_count = PF_VMM_MAPPINGS_MAX};
	struct scene *scene = *state;

	connect_as(scene, PAGEFERRY_DESTINATION);
	agent_hears(scene, PF_VMM_HELLO);
	assert_fails_with(scene, pageferry_vmm_regions(scene->vmm, &region, 1),
			  "region with id 5: 5 mappings; 1 to 4 are allowed");
	region.more_count = 0;
	region.populated = PAGEFERRY_POPULATED_LIST;
	region.ranges = ranges;
	region.range_count = PF_VMM_RANGES_MAX + 1;
	assert_fails_with(scene, pageferry_vmm_regions(scene->vmm, &region, 1),
			  "region with id 5: 257 populated ranges; 256 are allowed in all regions "
			  "together");
	region.range_count = 1;
	ranges[0].count = UINT64_C(1) << 32;
	assert_fails_with(scene, pageferry_vmm_regions(scene->vmm, &region, 1),
			  "region with id 5: a populated range of 4294967296 pages");
	agent_hears_nothing(scene);
}

static void a_source_is_paused_taken_back_paused_again_and_released(void **state)
{
	struct scene *scene = *state;

	begin(scene, PAGEFERRY_SOURCE);
	agent_says_word(scene, PF_VMM_PAUSE);
	dispatch(scene, "pause ");
	agent_hears(scene, PF_VMM_PAUSED);
	agent_says_word(scene, PF_VMM_CONTINUE_SOURCE);
	agent_says_word(scene, PF_VMM_PAUSE);
	dispatch(scene, "continue_source pause ");
	agent_hears(scene, PF_VMM_PAUSED);
	agent_says_word(scene, PF_VMM_RELEASE);
	dispatch(scene, "release ");
	agent_hears_nothing(scene);
}

static void a_destination_loads_resumes_and_completes(void **state)
{
	struct scene *scene = *state;

	begin(scene, PAGEFERRY_DESTINATION);
	agent_says_word(scene, PF_VMM_REGIONS_ACCEPTED);
	agent_says_load(scene, 8192, 5000);
	dispatch(scene, "regions_accepted load ");
	assert_int_equal(scene->state_size, 5000);
	assert_true(scene->state_fd >= 0);
	agent_hears(scene, PF_VMM_READY);
	agent_says_word(scene, PF_VMM_RESUME);
	dispatch(scene, "resume ");
	agent_hears(scene, PF_VMM_RESUMED);
	agent_says_word(scene, PF_VMM_COMPLETE);
	dispatch(scene, "complete ");
	agent_hears_nothing(scene);
}

/* The connection to the source was lost, and another switch-over brings another state. */
static void a_destination_loads_again_before_it_resumes(void **state)
{
	struct scene *scene = *state;

	begin(scene, PAGEFERRY_DESTINATION);
	agent_says_word(scene, PF_VMM_REGIONS_ACCEPTED);
	for (size_t size = 100; size <= 300; size += 100) {
		agent_says_load(scene, 8192, size);
		dispatch(scene, size == 100 ? "regions_accepted load " : "load ");
		assert_int_equal(scene->state_size, size);
		pf_close_fd(&scene->state_fd);
		agent_hears(scene, PF_VMM_READY);
		assert_fails_with(scene, pageferry_vmm_ready(scene->vmm),
				  "pageferry_vmm_ready: not possible while it is ready to run");
	}
	agent_says_word(scene, PF_VMM_RESUME);
	dispatch(scene, "resume ");
	agent_hears(scene, PF_VMM_RESUMED);
	agent_hears_nothing(scene);
}

/* The agent counts: the READY of the first LOAD must not pass for that of the second. */
static void each_load_is_answered_by_one_ready(void **state)
{
	struct scene *scene = *state;

	scene->answer = false;
	begin(scene, PAGEFERRY_DESTINATION);
	agent_says_word(scene, PF_VMM_REGIONS_ACCEPTED);
	agent_says_load(scene, 1, 1);
	dispatch(scene, "regions_accepted load ");
	pf_close_fd(&scene->state_fd);
	agent_says_load(scene, 2, 2);
	dispatch(scene, "load ");
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pageferry_vmm_ready(scene->vmm), 0);
		agent_hears(scene, PF_VMM_READY);
		agent_hears_nothing(scene);
	}
	assert_fails_with(scene, pageferry_vmm_ready(scene->vmm),
			  "pageferry_vmm_ready: not possible while it is ready to run");
	agent_says_word(scene, PF_VMM_RESUME);
	dispatch(scene, "resume ");
	assert_int_equal(pageferry_vmm_resumed(scene->vmm), 0);
	agent_hears(scene, PF_VMM_RESUMED);
	agent_hears_nothing(scene);
}

static void resume_is_refused_while_a_ready_is_owed(void **state)
{
	struct scene *scene = *state;

	scene->answer = false;
	begin(scene, PAGEFERRY_DESTINATION);
	agent_says_word(scene, PF_VMM_REGIONS_ACCEPTED);
	agent_says_load(scene, 1, 1);
	dispatch(scene, "regions_accepted load ");
	pf_close_fd(&scene->state_fd);
	agent_says_load(scene, 1, 1);
	dispatch(scene, "load ");
	assert_int_equal(pageferry_vmm_ready(scene->vmm), 0);
	agent_says_word(scene, PF_VMM_RESUME);
	assert_fails_with(scene, pageferry_vmm_dispatch(scene->vmm),
			  "the agent told the VMM RESUME while it loads the device state");
	assert_told(scene, "");
}

/* Its vCPUs have entered: whatever it says now, the guest is here. */
static void a_vmm_that_has_resumed_cannot_refuse(void **state)
{
	struct scene *scene = *state;

	begin(scene, PAGEFERRY_DESTINATION);
	agent_says_word(scene, PF_VMM_REGIONS_ACCEPTED);
	agent_says_load(scene, 0, 0);
	agent_says_word(scene, PF_VMM_RESUME);
	dispatch(scene, "regions_accepted load resume ");
	agent_hears(scene, PF_VMM_READY);
	agent_hears(scene, PF_VMM_RESUMED);
	assert_fails_with(scene, pageferry_vmm_resume_refused(scene->vmm, "too late"),
			  "pageferry_vmm_resume_refused: not possible while it runs");
	agent_hears_nothing(scene);
	agent_says_word(scene, PF_VMM_COMPLETE);
	dispatch(scene, "complete ");
}

static void the_device_state_travels_sealed(void **state)
{
	struct scene *scene = *state;
	char bytes[32] = "";

	begin(scene, PAGEFERRY_SOURCE);
	agent_says_word(scene, PF_VMM_PAUSE);
	dispatch(scene, "pause ");
	agent_hears(scene, PF_VMM_PAUSED);
	assert_int_equal(scene->heard.state.size, 12);
	assert_int_equal(scene->fd_count, 1);
	assert_int_equal(fcntl(scene->fds[0], F_GET_SEALS),
			 F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	assert_int_equal(read(scene->fds[0], bytes, sizeof(bytes)), 12);
	assert_string_equal(bytes, "device state");
}

static void a_vmm_may_answer_later_and_may_refuse(void **state)
{
	struct scene *scene = *state;

	scene->answer = false;
	begin(scene, PAGEFERRY_DESTINATION);
	agent_says_word(scene, PF_VMM_REGIONS_ACCEPTED);
	agent_says_load(scene, 0, 0);
	dispatch(scene, "regions_accepted load ");
	agent_hears_nothing(scene);
	assert_int_equal(pageferry_vmm_ready(scene->vmm), 0);
	agent_hears(scene, PF_VMM_READY);
	agent_says_word(scene, PF_VMM_RESUME);
	dispatch(scene, "resume ");
	assert_int_equal(pageferry_vmm_resume_refused(scene->vmm, "no such CPU feature"), 0);
	agent_hears(scene, PF_VMM_RESUME_REFUSED);
	assert_fails_with(scene, pageferry_vmm_resumed(scene->vmm),
			  "pageferry_vmm_resumed: not possible after its migration ended");
}

static void the_reason_of_an_error_arrives(void **state)
{
	struct scene *scene = *state;

	begin(scene, PAGEFERRY_SOURCE);
	agent_says(scene,
		   &(struct pf_vmm_message){.type = PF_VMM_ERROR, .reason = "cancelled; yours"},
		   NULL, 0);
	dispatch(scene, "error: cancelled; yours ");
	pf_close_fd(&scene->agent);
	assert_fails_with(scene, pageferry_vmm_dispatch(scene->vmm),
			  "the agent closed the connection after its migration ended");
}

/* Each of the VMM's own calls has one place; everywhere else it says so and sends nothing. */
static void calls_out_of_turn_are_refused(void **state)
{
	struct scene *scene = *state;
	const struct pageferry_region region = {.fd = -1, .uffd = -1};

	scene->answer = false;
	begin(scene, PAGEFERRY_SOURCE);
	assert_fails_with(scene, pageferry_vmm_regions(scene->vmm, &region, 1),
			  "pageferry_vmm_regions: not possible after its regions were described");
	assert_fails_with(scene, pageferry_vmm_paused(scene->vmm, "", 0),
			  "pageferry_vmm_paused: not possible after its regions were described");
	assert_fails_with(scene, pageferry_vmm_ready(scene->vmm),
			  "pageferry_vmm_ready: this VMM is the source");
	assert_fails_with(scene, pageferry_vmm_resumed(scene->vmm),
			  "pageferry_vmm_resumed: this VMM is the source");
	assert_fails_with(scene, pageferry_vmm_resume_refused(scene->vmm, "no"),
			  "pageferry_vmm_resume_refused: this VMM is the source");
	agent_hears_nothing(scene);
}

/* The agent counts: the late answer to the first pause must not pass for that to the second. */
static void a_pause_that_is_taken_back_is_answered_once_and_without_a_state(void **state)
{
	struct scene *scene = *state;

	scene->answer = false;
	begin(scene, PAGEFERRY_SOURCE);
	agent_says_word(scene, PF_VMM_PAUSE);
	agent_says_word(scene, PF_VMM_CONTINUE_SOURCE);
	dispatch(scene, "pause continue_source ");
	assert_fails_with(scene, pageferry_vmm_paused(scene->vmm, "late", 4),
			  "pageferry_vmm_paused: not possible after its regions were described");
	agent_says_word(scene, PF_VMM_PAUSE);
	dispatch(scene, "pause ");
	assert_int_equal(pageferry_vmm_paused(scene->vmm, "state", 5), 0);
	for (uint64_t size = 0; size <= 5; size += 5) {
		agent_hears(scene, PF_VMM_PAUSED);
		assert_int_equal(scene->heard.state.size, size);
	}
	agent_hears_nothing(scene);
}

/* ---- an agent that breaks the protocol ---- */

enum how_far { CONNECTED, BEGUN, ASKED_TO_PAUSE, PAUSED, ACCEPTED, LOADED, RUNNING };

static void go(struct scene *scene, enum pageferry_role role, enum how_far how_far)
{
	if (how_far == CONNECTED) {
		connect_as(scene, role);
		return;
	}
	begin(scene, role);
	if (how_far == ASKED_TO_PAUSE || how_far == PAUSED) {
		scene->answer = how_far == PAUSED;
		agent_says_word(scene, PF_VMM_PAUSE);
	}
	if (how_far >= ACCEPTED)
		agent_says_word(scene, PF_VMM_REGIONS_ACCEPTED);
	if (how_far >= LOADED)
		agent_says_load(scene, 1, 1);
	if (how_far >= RUNNING)
		agent_says_word(scene, PF_VMM_RESUME);
	assert_int_equal(pageferry_vmm_dispatch(scene->vmm), 0);
	scene->told[0] = '\0';
	pf_close_fd(&scene->state_fd);
}

#define SRC PAGEFERRY_SOURCE
#define DST PAGEFERRY_DESTINATION
static const struct wrong {
	enum pageferry_role role;
	enum how_far how_far;
	enum pf_vmm_type type;
	const char *text; /* after "the agent told " */
} wrongs[] = {
	/* the other role's */
	{SRC, BEGUN, PF_VMM_REGIONS_ACCEPTED, "a VMM that is the source: REGIONS_ACCEPTED"},
	{SRC, BEGUN, PF_VMM_RESUME, "a VMM that is the source: RESUME"},
	{SRC, BEGUN, PF_VMM_LOAD, "a VMM that is the source: LOAD"},
	{SRC, PAUSED, PF_VMM_COMPLETE, "a VMM that is the source: COMPLETE"},
	{DST, BEGUN, PF_VMM_PAUSE, "a VMM that is the destination: PAUSE"},
	{DST, RUNNING, PF_VMM_CONTINUE_SOURCE, "a VMM that is the destination: CONTINUE_SOURCE"},
	{DST, RUNNING, PF_VMM_RELEASE, "a VMM that is the destination: RELEASE"},
	/* at the wrong time */
	{SRC, CONNECTED, PF_VMM_PAUSE, "the VMM PAUSE before its regions are described"},
	{SRC, BEGUN, PF_VMM_CONTINUE_SOURCE,
	 "the VMM CONTINUE_SOURCE after its regions were described"},
	{SRC, BEGUN, PF_VMM_RELEASE, "the VMM RELEASE after its regions were described"},
	{SRC, ASKED_TO_PAUSE, PF_VMM_PAUSE, "the VMM PAUSE while it is asked to pause"},
	{SRC, ASKED_TO_PAUSE, PF_VMM_RELEASE, "the VMM RELEASE while it is asked to pause"},
	{SRC, PAUSED, PF_VMM_PAUSE, "the VMM PAUSE while it is paused"},
	{DST, CONNECTED, PF_VMM_REGIONS_ACCEPTED,
	 "the VMM REGIONS_ACCEPTED before its regions are described"},
	{DST, BEGUN, PF_VMM_LOAD, "the VMM LOAD after its regions were described"},
	{DST, BEGUN, PF_VMM_RESUME, "the VMM RESUME after its regions were described"},
	{DST, ACCEPTED, PF_VMM_RESUME, "the VMM RESUME while it waits for the device state"},
	{DST, LOADED, PF_VMM_COMPLETE, "the VMM COMPLETE while it is ready to run"},
	{DST, RUNNING, PF_VMM_RESUME, "the VMM RESUME while it runs"},
	{DST, RUNNING, PF_VMM_LOAD, "the VMM LOAD while it runs"},
	/* nobody's in this version of the library */
	{DST, RUNNING, PF_VMM_RESOLVED, "a VMM that is the destination: RESOLVED"},
};

static void each_message_out_of_turn_ends_the_connection(void **state)
{
	for (size_t i = 0; i < PF_ARRAY_LEN(wrongs); i++) {
		const struct wrong *wrong = &wrongs[i];
		struct scene *scene;
		char text[160];

		snprintf(text, sizeof(text), "the agent told %s", wrong->text);
		set_up(state);
		scene = *state;
		go(scene, wrong->role, wrong->how_far);
		if (wrong->type == PF_VMM_LOAD)
			agent_says_load(scene, 1, 1);
		else
			agent_says_word(scene, wrong->type);
		assert_fails_with(scene, pageferry_vmm_dispatch(scene->vmm), text);
		assert_told(scene, "");
		assert_int_equal(pageferry_vmm_dispatch(scene->vmm), -1);
		assert_string_equal(pageferry_vmm_error(scene->vmm), text);
		tear_down(state);
	}
}

static void bytes_that_are_no_message_end_the_connection(void **state)
{
	struct scene *scene = *state;

	begin(scene, PAGEFERRY_SOURCE);
	assert_int_equal(send(scene->agent, "\xff", 1, 0), 1);
	assert_fails_with(scene, pageferry_vmm_dispatch(scene->vmm),
			  "from the agent: the Envelope body of 1 bytes does not decode");
	assert_fails_with(scene, pageferry_vmm_paused(scene->vmm, "", 0),
			  "pageferry_vmm_paused: the connection to the agent has failed before");
}

static void a_message_with_descriptors_that_nobody_wants_leaks_none(void **state)
{
	struct scene *scene = *state;
	const int three[] = {0, 1, 2};

	begin(scene, PAGEFERRY_SOURCE);
	agent_says(scene, &(struct pf_vmm_message){.type = PF_VMM_PAUSE}, three, 3);
	assert_fails_with(scene, pageferry_vmm_dispatch(scene->vmm),
			  "from the agent: a PAUSE message with 3 descriptors instead of 0");
	/* tear_down() counts */
}

static void a_device_state_shorter_than_announced_is_refused(void **state)
{
	struct scene *scene = *state;

	begin(scene, PAGEFERRY_DESTINATION);
	agent_says_word(scene, PF_VMM_REGIONS_ACCEPTED);
	agent_says_load(scene, 4096, 4097);
	assert_fails_with(scene, pageferry_vmm_dispatch(scene->vmm),
			  "the agent announced 4097 bytes of device state, the file has 4096");
	assert_told(scene, "regions_accepted ");
}

static void an_agent_that_goes_away_is_noticed(void **state)
{
	struct scene *scene = *state;

	begin(scene, PAGEFERRY_SOURCE);
	agent_says_word(scene, PF_VMM_PAUSE);
	pf_close_fd(&scene->agent);
	scene->answer = false;
	assert_fails_with(scene, pageferry_vmm_dispatch(scene->vmm),
			  "the agent closed the connection while it is asked to pause");
	assert_told(scene, "pause ");
}

/* It was cancelled, and left before the guest stood: the guest must not stand for ever. */
static void the_last_word_of_an_agent_that_is_gone_lets_the_guest_go_on(void **state)
{
	struct scene *scene = *state;

	begin(scene, PAGEFERRY_SOURCE);
	agent_says_word(scene, PF_VMM_PAUSE);
	agent_says_word(scene, PF_VMM_CONTINUE_SOURCE);
	pf_close_fd(&scene->agent);
	scene->answer = false;
	assert_int_equal(pageferry_vmm_dispatch(scene->vmm), -1);
	assert_told(scene, "pause continue_source ");
}

/* The same, and the agent had left PAUSED unread. */
static void the_last_word_of_an_agent_that_did_not_listen_is_heard(void **state)
{
	struct scene *scene = *state;

	scene->answer = false;
	begin(scene, PAGEFERRY_SOURCE);
	agent_says_word(scene, PF_VMM_PAUSE);
	dispatch(scene, "pause ");
	assert_int_equal(pageferry_vmm_paused(scene->vmm, "state", 5), 0);
	agent_says_word(scene, PF_VMM_CONTINUE_SOURCE);
	pf_close_fd(&scene->agent);
	assert_fails_with(scene, pageferry_vmm_dispatch(scene->vmm),
			  "the agent closed the connection after its regions were described");
	assert_told(scene, "continue_source ");
}

/* It has said ERROR before it went: nobody is to be waited for. */
static void after_error_there_is_nothing_to_reattach_to(void **state)
{
	struct scene *scene = *state;

	scene->answer = false;
	begin(scene, PAGEFERRY_SOURCE);
	agent_says_word(scene, PF_VMM_PAUSE);
	dispatch(scene, "pause ");
	agent_says_word(scene, PF_VMM_CONTINUE_SOURCE);
	agent_says(scene,
		   &(struct pf_vmm_message){.type = PF_VMM_ERROR,
					    .reason = "the guest stays here: cancelled"},
		   NULL, 0);
	pf_close_fd(&scene->agent);
	assert_int_equal(pageferry_vmm_dispatch(scene->vmm), -1);
	assert_told(scene, "continue_source error: the guest stays here: cancelled ");
	assert_fails_with(scene, pageferry_vmm_reattach(scene->vmm),
			  "pageferry_vmm_reattach: not possible after its migration ended");
}

static void an_answer_after_the_agent_went_away_is_given_and_dispatch_says_that_it_has_gone(void **state)
{
	struct scene *scene = *state;

	scene->answer = false;
	begin(scene, PAGEFERRY_SOURCE);
	agent_says_word(scene, PF_VMM_PAUSE);
	dispatch(scene, "pause ");
	pf_close_fd(&scene->agent);
	assert_int_equal(pageferry_vmm_paused(scene->vmm, "state", 5), 0);
	assert_fails_with(scene, pageferry_vmm_dispatch(scene->vmm),
			  "the agent closed the connection while it is paused");
}

static void ops_that_are_null_are_skipped(void **state)
{
	static const struct pageferry_vmm_ops none = {0};
	struct scene *scene = *state;

	scene->vmm = pageferry_vmm_connect(scene->path, PAGEFERRY_DESTINATION, NULL, 0, &none, NULL,
					   NULL, 0);
	assert_non_null(scene->vmm);
	scene->agent = accept4(scene->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	describe(scene, true);
	agent_says_word(scene, PF_VMM_REGIONS_ACCEPTED);
	agent_says_load(scene, 1, 1);
	agent_says(scene, &(struct pf_vmm_message){.type = PF_VMM_ERROR, .reason = "x"}, NULL, 0);
	assert_int_equal(pageferry_vmm_dispatch(scene->vmm), 0);
}

/* ---- before anything is sent ---- */

static void nobody_on_the_socket_is_said_with_advice(void **state)
{
	struct scene *scene = *state;
	char reason[512], want[512], path[80];

	snprintf(path, sizeof(path), "%s/none", scene->dir);
	snprintf(want, sizeof(want), "connecting to %s: No such file or directory; is the agent "
		 "running with --vmm-socket %s?", path, path);
	assert_null(pageferry_vmm_connect(path, PAGEFERRY_SOURCE, NULL, 0, &scene_ops, scene, reason,
					  sizeof(reason)));
	assert_string_equal(reason, want);
	assert_null(pageferry_vmm_connect(path, PAGEFERRY_SOURCE, NULL, 0, &scene_ops, scene, NULL, 0));
}

static void too_many_vcpus_are_refused(void **state)
{
	struct scene *scene = *state;
	static const uint32_t tids[PF_VMM_VCPUS_MAX + 1];
	char reason[128];

	assert_null(pageferry_vmm_connect(scene->path, PAGEFERRY_SOURCE, tids,
					  PF_ARRAY_LEN(tids), &scene_ops, scene, reason,
					  sizeof(reason)));
	assert_string_equal(reason, "1025 vCPUs; 1024 are allowed");
}

static void bad_regions_are_refused_before_they_are_sent(void **state)
{
	struct scene *scene = *state;
	struct pageferry_region region = {.id = 5, .size = MIB, .page_size = 4096,
					  .kind = PAGEFERRY_MEMFD, .fd = 0, .uffd = 1,
					  .base = 4096};
	static const struct pageferry_region many[PF_REGIONS_MAX + 1];

	connect_as(scene, PAGEFERRY_SOURCE);
	agent_hears(scene, PF_VMM_HELLO);
	assert_fails_with(scene, pageferry_vmm_regions(scene->vmm, &region, 1),
			  "region with id 5: the source has no userfaultfd");
	region.uffd = -1;
	region.size = 100;
	assert_fails_with(scene, pageferry_vmm_regions(scene->vmm, &region, 1),
			  "the VMM's regions, in the order of their GPAs: region 0 (GPA 0x0, 100 "
			  "bytes, pages of 4096): its size is not a positive multiple of its page "
			  "size");
	region.size = MIB;
	region.fd = -1;
	assert_fails_with(scene, pageferry_vmm_regions(scene->vmm, &region, 1),
			  "region with id 5 (GPA 0x0): a memory file comes with every kind but "
			  "PRIVATE, and only then");
	assert_fails_with(scene, pageferry_vmm_regions(scene->vmm, NULL, 0),
			  "0 regions; 1 to 64 are allowed");
	assert_fails_with(scene, pageferry_vmm_regions(scene->vmm, many, PF_ARRAY_LEN(many)),
			  "65 regions; 1 to 64 are allowed");
	agent_hears_nothing(scene);
	region.fd = 0;
	assert_int_equal(pageferry_vmm_regions(scene->vmm, &region, 1), 0);
	agent_hears(scene, PF_VMM_REGIONS);
}

static void a_destination_needs_a_userfaultfd(void **state)
{
	struct scene *scene = *state;
	const struct pageferry_region region = {.id = 5, .size = MIB, .page_size = 4096,
						.kind = PAGEFERRY_MEMFD, .fd = 0, .uffd = -1};

	connect_as(scene, PAGEFERRY_DESTINATION);
	assert_fails_with(scene, pageferry_vmm_regions(scene->vmm, &region, 1),
			  "region with id 5: the destination needs a userfaultfd");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(hello_says_role_version_and_threads),
		TEST(regions_share_their_descriptors),
		TEST(more_mappings_and_what_is_populated_are_told),
		TEST(what_does_not_fit_one_message_is_refused),
		TEST(a_source_is_paused_taken_back_paused_again_and_released),
		TEST(a_destination_loads_resumes_and_completes),
		TEST(a_destination_loads_again_before_it_resumes),
		TEST(each_load_is_answered_by_one_ready),
		TEST(resume_is_refused_while_a_ready_is_owed),
		TEST(a_vmm_that_has_resumed_cannot_refuse),
		TEST(the_device_state_travels_sealed),
		TEST(a_vmm_may_answer_later_and_may_refuse),
		TEST(the_reason_of_an_error_arrives),
		TEST(after_error_there_is_nothing_to_reattach_to),
		TEST(calls_out_of_turn_are_refused),
		TEST(a_pause_that_is_taken_back_is_answered_once_and_without_a_state),
		cmocka_unit_test(each_message_out_of_turn_ends_the_connection),
		TEST(bytes_that_are_no_message_end_the_connection),
		TEST(a_message_with_descriptors_that_nobody_wants_leaks_none),
		TEST(a_device_state_shorter_than_announced_is_refused),
		TEST(an_agent_that_goes_away_is_noticed),
		TEST(the_last_word_of_an_agent_that_is_gone_lets_the_guest_go_on),
		TEST(the_last_word_of_an_agent_that_did_not_listen_is_heard),
		TEST(an_answer_after_the_agent_went_away_is_given_and_dispatch_says_that_it_has_gone),
		TEST(ops_that_are_null_are_skipped),
		TEST(nobody_on_the_socket_is_said_with_advice),
		TEST(too_many_vcpus_are_refused),
		TEST(bad_regions_are_refused_before_they_are_sent),
		TEST(a_destination_needs_a_userfaultfd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
