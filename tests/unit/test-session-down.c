/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/unit/test-session-down.c - the destination's session is lost: what goes, what is told, what stays.
 *
 * The engine with its state directory, events, urgent and bulk threads, memory and TLS; the test says how far
 * the migration has come, and is the source.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/pulse.h"
#include "memhelp.h"
#include "memory/place.h"
#include "migrate/destination_engine.h"
#include "migrate/outage.h"
#include "net/wait.h"
#include "netkit.h"
#include "scratch.h"

#define PAGES 64u
#define EPOCH 1u
#define ADDRESS "192.0.2.1:7000"

static struct vmm vmm;
static struct pf_kept kept;
static struct pf_options options;
static char paths[3][128];
static struct destination *destination;
static struct pf_channel *urgent, *bulk; /* the source's ends */
static uint64_t seen; /* the latest event that was looked at */
static json_t *news;

static const struct pf_agent_ops ops = {.act = pf_destination_act};

static void must(int failed, const struct pf_err *err)
{
	if (failed)
		fail_msg("%s", err->text);
}

/* A real connection; returns the destination's end. */
static struct pf_channel *connect_to(struct pf_channel **out_source, bool is_urgent)
{
	struct pf_conn *client, *server;
	struct pf_channel *theirs;
	struct pf_err err = {0};

	kit_pair(&kit_tls, &client, &server);
	must(pf_channel_new(client, PF_SOURCE, is_urgent, out_source, &err), &err);
	must(pf_channel_new(server, PF_DESTINATION, is_urgent, &theirs, &err), &err);
	pf_channel_expect(*out_source, EPOCH, &destination->guest.table, 0);
	pf_channel_expect(theirs, EPOCH, NULL, 0);
	return theirs;
}

static void connect_bulk(void)
{
	struct pf_receiver *receiver = calloc(1, sizeof(*receiver));
	struct pf_link *link = &destination->bulk[0];
	struct pf_channel *theirs = connect_to(&bulk, false);
	struct pf_err err = {0};

	*receiver = (struct pf_receiver){.may_push = true, .state_fd = -1};
	pf_grant_begin(&receiver->grant);
	receiver->arrival = (struct pf_arrival){.guest = &destination->guest,
						.inbox = &destination->agent.inbox,
						.stop = &link->stop,
						.filled_told = &destination->filled_told,
						.maps = &destination->pager.maps,
						.owed = &destination->pager.requests,
						.assembly = &destination->assembly[1]};
	destination->receiver[0] = receiver;
	must(pf_link_start(link, theirs, &destination->agent.inbox, 1, EPOCH, &pf_receiver_user, receiver,
			   "bulk-1", &err),
	     &err);
	pf_link_agree(link, &destination->guest.table);
}

static int open_destination(void **state)
{
	static const char *const names[] = {"state", "vmm", "control"};
	struct pf_guest *guest;
	struct pf_err err = {0};

	if (scratch_make(state))
		return -1;
	for (unsigned i = 0; i < 3; i++)
		scratch_path(paths[i], names[i]);
	options = (struct pf_options){.side = PF_DESTINATION,
				      .id = "vm-1",
				      .tls_dir = kit_tls.path,
				      .state_dir = paths[0],
				      .vmm_socket = paths[1],
				      .control = paths[2],
				      .link_timeout_ms = 750};
	destination = calloc(1, sizeof(*destination));
	guest = &destination->guest;
	destination->state.fd = -1;
	must(pf_kept_open(&kept, &err) ||
	     pf_agent_open(&destination->agent, &options, &kept, &pf_destination_machine, &ops,
			   destination, &pf_destination_vmm, &err), &err);
	vmm_start(&vmm, PAGES, 1, 0, -1);
	guest_fill(guest, &vmm, PAGES);
	destination->pager.pulse.timeout_ns = &destination->agent.link_timeout_ns;
	must(pf_guest_arm(guest, destination->agent.dir.fd, &err) ||
	     pf_pager_start(&destination->pager, &destination->agent.inbox, &destination->filled_told,
			    &destination->assembly[0], &err), &err);
	pf_pager_tell(&destination->pager, PF_MAIL_GUEST, &guest, sizeof(guest));
	destination->armed = true;
	return 0;
}

static void forget_connections(void)
{
	free(destination->receiver[0]);
	pf_channel_free(urgent);
	pf_channel_free(bulk);
	urgent = bulk = NULL;
}

static int close_destination(void **state)
{
	pf_pager_stop(&destination->pager, false);
	pf_session_stop_bulk(destination, false);
	pf_pager_done(&destination->pager);
	pf_agent_close(&destination->agent);
	pf_kept_close(&kept);
	vmm_stop(&vmm);
	pf_guest_done(&destination->guest);
	forget_connections();
	free(destination);
	json_decref(news);
	news = NULL;
	seen = 0;
	return scratch_remove(state);
}

/* The next event that nobody has looked at, and its data, until the next call; "" when there is none. */
static const char *next_event(json_t **out_data)
{
	json_t *event;

	json_decref(news);
	news = pf_events_since(destination->agent.events, seen);
	event = json_array_get(news, 0);
	if (!event)
		return "";
	seen = (uint64_t)json_integer_value(json_object_get(event, "seq"));
	*out_data = json_object_get(event, "data");
	return json_string_value(json_object_get(event, "event"));
}

static void look_at_all_events(void)
{
	json_t *data;

	while (next_event(&data)[0])
		;
}

/* A session stands, and the migration has come so far. */
static void stand(uint8_t at, enum pf_record record)
{
	struct pf_agent *agent = &destination->agent;

	agent->state = at;
	agent->record = record;
	agent->epoch = EPOCH;
	destination->channels = 1;
	destination->session_known = destination->theirs_known = true;
	destination->urgent_up = destination->link_up = true;
	destination->resumed = record == PF_RECORD_RUN;
	snprintf(destination->address, sizeof(destination->address), ADDRESS);
	pf_pager_attach(&destination->pager, connect_to(&urgent, true), EPOCH);
	connect_bulk();
	look_at_all_events();
}

static const char *text_of(const json_t *data, const char *name)
{
	return json_string_value(json_object_get(data, name));
}

static void lose(enum pf_err_class class, const char *why)
{
	struct pf_err err = {0};

	pf_err_set(&err, class, "%s", why);
	pf_session_down(destination, &err);
}

static void assert_gone(void)
{
	assert_false(destination->urgent_up);
	assert_false(destination->link_up);
	assert_false(destination->theirs_known);
	assert_false(destination->bulk[0].started);
}

/* The source's end of a connection is closed, behind whatever was said on it. */
static void assert_closed(struct pf_channel *channel)
{
	const uint8_t *body;
	struct pf_frame frame;
	struct pf_err err;
	enum pf_io io;

	while ((io = pf_channel_recv(channel, &frame, &body, &err)) == PF_IO_AGAIN || io == PF_IO_OK)
		if (io == PF_IO_AGAIN)
			assert_int_equal(pf_wait_fd(pf_conn_fd(pf_channel_conn(channel)),
						    pf_channel_wants(channel), wait_deadline(), -1), 0);
	assert_int_equal(io, PF_IO_EOF);
}

static void behind_run_it_is_an_outage_and_the_guest_stays(void **state)
{
	json_t *data;

	(void)state;
	stand(PF_D_SERVING, PF_RECORD_RUN);
	lose(PF_ERR_UNREACHABLE, "the cable was pulled");
	assert_gone();
	assert_int_equal(destination->agent.state, PF_D_OUTAGE);
	assert_int_equal(destination->agent.record, PF_RECORD_RUN);
	assert_true(destination->agent.outage.since_ns > 0);
	assert_true(destination->session_known);
	assert_string_equal(next_event(&data), "STATE");
	assert_string_equal(next_event(&data), "OUTAGE");
	assert_string_equal(text_of(data, "reason"), "the cable was pulled");
	assert_string_equal(next_event(&data), "OUTCOME");
	assert_string_equal(text_of(data, "owner"), "destination");
	assert_string_equal(next_event(&data), "");
	assert_closed(urgent);
	assert_closed(bulk);
}

static void a_peer_that_breaks_the_protocol_is_named(void **state)
{
	json_t *data;

	(void)state;
	stand(PF_D_SERVING, PF_RECORD_RUN);
	lose(PF_ERR_PROTOCOL, "it sent PAUSED twice");
	assert_gone();
	assert_string_equal(next_event(&data), "PEER_REFUSED");
	assert_string_equal(text_of(data, "address"), ADDRESS);
	assert_string_equal(text_of(data, "reason"), "it sent PAUSED twice");
	assert_int_equal(destination->agent.state, PF_D_OUTAGE);
}

static void before_ready_the_session_is_forgotten_and_nobody_waits(void **state)
{
	(void)state;
	stand(PF_D_ACTIVE, PF_RECORD_NONE);
	lose(PF_ERR_UNREACHABLE, "the source has gone");
	assert_gone();
	assert_int_equal(destination->agent.state, PF_D_SETUP);
	assert_false(destination->session_known);
	assert_int_equal(destination->agent.outage.since_ns, 0);
}

static void with_ready_it_waits_for_the_same_session(void **state)
{
	(void)state;
	stand(PF_D_READY, PF_RECORD_READY);
	lose(PF_ERR_UNREACHABLE, "the source has gone");
	assert_gone();
	assert_int_equal(destination->agent.state, PF_D_WAITING);
	assert_true(destination->session_known);
	assert_true(destination->agent.outage.since_ns > 0);
}

static void a_second_loss_of_one_session_is_none(void **state)
{
	uint64_t since;
	json_t *data;

	(void)state;
	stand(PF_D_SERVING, PF_RECORD_RUN);
	lose(PF_ERR_UNREACHABLE, "the first");
	since = destination->agent.outage.since_ns;
	look_at_all_events();
	lose(PF_ERR_PROTOCOL, "the second");
	assert_string_equal(next_event(&data), "");
	assert_int_equal(destination->agent.outage.since_ns, since);
	assert_int_equal(destination->agent.state, PF_D_OUTAGE);
}

/* As the source comes back; somebody waits, and gets nothing. */
static void recover(void)
{
	pf_outage_end(&destination->agent);
	assert_int_equal(destination->agent.outage.since_ns, 0);
	forget_connections();
	destination->filled_then = destination->guest.journal.filled;
	stand(PF_D_SERVING, PF_RECORD_RUN);
	assert_int_equal(destination->pager.count.open, 1);
}

/* A link that comes and goes in between has not helped who waits; one that brings pages, or has stood for long, has. */
static void an_outage_goes_on_for_who_got_nothing_in_between(void **state)
{
	struct pf_guest *guest = &destination->guest;
	uint64_t since;

	(void)state;
	stand(PF_D_SERVING, PF_RECORD_RUN);
	vmm_tell(&vmm, VMM_READ, 0, 40, 0);
	WAIT_UNTIL(destination->pager.count.open == 1);
	lose(PF_ERR_UNREACHABLE, "the first");
	since = destination->agent.outage.since_ns;
	recover();
	lose(PF_ERR_UNREACHABLE, "the second");
	assert_int_equal(destination->agent.outage.since_ns, since);

	recover();
	(void)pf_journal_fill(&guest->journal, 0, 20, pf_journal_claim(&guest->journal, 0, 20, 1));
	lose(PF_ERR_UNREACHABLE, "the third");
	assert_true(destination->agent.outage.since_ns > since);
	since = destination->agent.outage.since_ns;

	recover();
	destination->agent.outage.before.over_ns -=
		PF_PULSE_FIRST_SIGN_NS + 4 * destination->agent.link_timeout_ns;
	lose(PF_ERR_UNREACHABLE, "the fourth");
	assert_true(destination->agent.outage.since_ns > since);
}

static void what_a_bulk_connection_has_brought_stays_counted(void **state)
{
	struct pf_frame frame = {.type = PF_FRAME_PAGES, .page = 8, .count = 4, .length = 4 * PAGE};
	uint8_t bytes[4 * PAGE];
	struct pf_err err;

	(void)state;
	stand(PF_D_SERVING, PF_RECORD_RUN);
	page_fill(bytes, 8, 4);
	assert_true(pf_channel_put(bulk, &frame, bytes));
	assert_int_equal(pf_channel_flush(bulk, &err), PF_IO_OK);
	WAIT_UNTIL(destination->receiver[0]->count.pushed == 4);
	lose(PF_ERR_UNREACHABLE, "the cable was pulled");
	assert_int_equal(destination->pushed_before, 4);
	assert_int_equal(destination->received_before, PF_FRAME_HEADER_BYTES + sizeof(bytes));
	assert_int_equal(destination->receiver[0]->count.pushed, 0);
	assert_int_equal(pf_journal_state(&destination->guest.journal, 0, 11), PF_PAGE_FILLED);
}

/* Whose thread is told to stop before it could say so: nobody would ask, and nobody would come again. */
static void the_last_page_that_nobody_has_told_of_completes_it(void **state)
{
	struct pf_run run = {.count = 16};
	struct pf_err err = {0};
	uint32_t placed;

	(void)state;
	stand(PF_D_SERVING, PF_RECORD_RUN);
	for (; run.first < PAGES; run.first += run.count)
		assert_int_equal(pf_place_run(&destination->guest, &run, NULL, &placed, &err), PF_PLACE_OK);
	assert_int_equal(destination->agent.state, PF_D_SERVING);
	lose(PF_ERR_UNREACHABLE, "the cable was pulled");
	assert_gone();
	assert_int_equal(destination->agent.state, PF_D_LINGERING);
	assert_int_equal(faccessat(destination->agent.dir.fd, "complete", F_OK, 0), 0);
}

/* Its process has died; the one that came after it has the link. */
static void who_has_gone_behind_his_hello_takes_no_link(void **state)
{
	struct pf_channel *late;
	struct pf_greeting greeting = {.hello = {.protocol = PF_WIRE_PROTOCOL, .id = "vm-1", .channels = 1},
				       .address = ADDRESS};
	json_t *data;

	(void)state;
	stand(PF_D_ACTIVE, PF_RECORD_NONE);
	greeting.channel = connect_to(&late, true);
	pf_channel_free(late);
	pf_session_greeting(destination, &greeting);
	assert_null(greeting.channel);
	assert_true(destination->link_up);
	assert_int_equal(destination->agent.epoch, EPOCH);
	assert_int_equal(destination->agent.state, PF_D_ACTIVE);
	assert_string_equal(next_event(&data), "");
}

int main(void)
{
#define CASE(test) cmocka_unit_test_setup_teardown(test, open_destination, close_destination)
	const struct CMUnitTest tests[] = {
		CASE(behind_run_it_is_an_outage_and_the_guest_stays),
		CASE(a_peer_that_breaks_the_protocol_is_named),
		CASE(before_ready_the_session_is_forgotten_and_nobody_waits),
		CASE(with_ready_it_waits_for_the_same_session),
		CASE(a_second_loss_of_one_session_is_none),
		CASE(an_outage_goes_on_for_who_got_nothing_in_between),
		CASE(what_a_bulk_connection_has_brought_stays_counted),
		CASE(the_last_page_that_nobody_has_told_of_completes_it),
		CASE(who_has_gone_behind_his_hello_takes_no_link),
	};

	if (uffd_refused())
		return 77;
	return cmocka_run_group_tests(tests, kit_make_tls, kit_remove_tls);
}
