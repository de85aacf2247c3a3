/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/kill/handler.c - the handling process: the destination's real threads, and a main that only
 * lets the source in.
 *
 * The first one arms the guest, the next ones take it up.  It has no VMM socket, no records and no
 * orchestrator: what is tested here is what happens to pages.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "migrate/destination.h"
#include "net/tcp.h"
#include "stage.h"

struct handler {
	struct stage *stage;
	struct pf_options options;
	struct pf_mailbox inbox;
	struct pf_guest guest;
	struct pf_pager pager;
	struct pf_acceptor *acceptor;
	struct pf_link bulk[CHANNELS];
	struct pf_receiver receiver[CHANNELS];
	struct pf_assembly assembly[CHANNELS + 1];
	_Atomic bool filled_told;
	uint8_t secret[PF_SECRET_BYTES];
	uint32_t epoch;
	bool up; /* urgent stands */
	bool said_filled;
	bool failed;
};

static void say(uint32_t what, uint32_t port)
{
	struct said said = {.what = what, .port = port};

	(void)!write(STDOUT_FILENO, &said, sizeof(said));
}

static void maybe_filled(struct handler *handler)
{
	if (handler->said_filled || !pf_journal_complete(&handler->guest.journal))
		return;
	handler->said_filled = true;
	say(SAID_FILLED, 0);
}

/* ---- connections ---- */

static void stop_bulk(struct handler *handler)
{
	for (uint32_t i = 0; i < CHANNELS; i++)
		pf_link_stop(&handler->bulk[i], false);
}

static int welcome(struct handler *handler, struct pf_greeting *greeting, struct pf_err *err)
{
	struct pf_msg_welcome body = {.protocol = PF_WIRE_PROTOCOL,
				      .epoch = handler->epoch,
				      .record = PF_RECORD_NONE,
				      .has_proof = true,
				      .software = "handler"};
	struct pf_frame frame = {.type = PF_FRAME_WELCOME};
	uint8_t bytes[512];

	if (pf_session_proof(pf_channel_conn(greeting->channel), handler->secret, handler->epoch,
			     greeting->hello.channel, PF_DESTINATION, body.proof, err))
		return -1;
	frame.length = (uint32_t)pf_msg_pack_welcome(&body, bytes, sizeof(bytes));
	if (!pf_channel_put(greeting->channel, &frame, bytes))
		return pf_err_set(err, PF_ERR_STATE, "no room for WELCOME");
	pf_channel_expect(greeting->channel, handler->epoch, NULL, 0);
	return 0;
}

static int take_urgent(struct handler *handler, struct pf_greeting *greeting, struct pf_err *err)
{
	struct pf_conn *conn = pf_channel_conn(greeting->channel);

	stop_bulk(handler);
	handler->epoch = atomic_fetch_add(&handler->stage->epoch, 1) + 1;
	if (pf_session_secret(conn, handler->secret, err))
		return -1;
	pf_channel_become_urgent(greeting->channel);
	pf_tcp_tune(pf_conn_fd(conn), true);
	if (welcome(handler, greeting, err))
		return -1;
	pf_pager_attach(&handler->pager, pf_steal(&greeting->channel), handler->epoch);
	handler->up = true;
	return 0;
}

static int take_bulk(struct handler *handler, struct pf_greeting *greeting, struct pf_err *err)
{
	uint32_t i = greeting->hello.channel - 1;
	struct pf_receiver *receiver = &handler->receiver[i];

	if (!handler->up || greeting->hello.epoch != handler->epoch || i >= CHANNELS ||
	    handler->bulk[i].started)
		return pf_err_set(err, PF_ERR_UNREACHABLE, "a bulk connection of another session");
	if (pf_session_check(pf_channel_conn(greeting->channel), handler->secret, handler->epoch,
			     i + 1, PF_SOURCE, greeting->hello.proof, err) ||
	    welcome(handler, greeting, err))
		return -1;
	*receiver = (struct pf_receiver){
		.state_fd = -1,
		.may_push = true,
		.arrival = {.guest = &handler->guest,
			    .inbox = &handler->inbox,
			    .stop = &handler->bulk[i].stop,
			    .filled_told = &handler->filled_told,
			    .owed = &handler->pager.requests,
			    .assembly = &handler->assembly[i + 1],
			    .maps = &handler->pager.maps},
	};
	pf_assembly_forget(&handler->assembly[i + 1]);
	pf_grant_begin(&receiver->grant);
	return pf_link_start(&handler->bulk[i], pf_steal(&greeting->channel), &handler->inbox,
			     i + 1, handler->epoch, &pf_receiver_user, receiver, "bulk", err);
}

static void begin_when_up(struct handler *handler)
{
	for (uint32_t i = 0; i < CHANNELS; i++)
		if (!handler->bulk[i].started)
			return;
	for (uint32_t i = 0; i < CHANNELS; i++)
		pf_link_agree(&handler->bulk[i], &handler->guest.table);
	pf_pager_agree(&handler->pager, handler->epoch, &handler->guest.table);
	pf_pager_send(&handler->pager, handler->epoch, PF_FRAME_REGIONS_OK, NULL, 0);
}

static void take_greeting(struct handler *handler, struct pf_greeting *greeting)
{
	struct pf_err err;
	int failed = greeting->hello.channel == 0 ? take_urgent(handler, greeting, &err)
						  : take_bulk(handler, greeting, &err);

	if (!failed && greeting->hello.channel > 0)
		begin_when_up(handler);
	pf_channel_free(greeting->channel);
}

static void hang_up(struct handler *handler)
{
	stop_bulk(handler);
	handler->up = false;
	pf_pager_tell(&handler->pager, PF_MAIL_DETACH, NULL, 0);
}

static void take_mail(struct handler *handler, const struct pf_mail *mail)
{
	switch ((enum pf_mail_kind)mail->kind) {
	case PF_MAIL_GREETING:
		take_greeting(handler, mail->data);
		break;
	case PF_MAIL_STRANGER: /* a source that was killed in its handshake */
		break;
	case PF_MAIL_DOWN:
		if (handler->up && mail->origin == handler->epoch)
			hang_up(handler);
		break;
	case PF_MAIL_FILLED:
	case PF_MAIL_PAGE_LOST:
		break;
	default: /* nothing else may happen to a page here */
		fprintf(stderr, "handler: mail of kind %u\n", mail->kind);
		handler->failed = true;
	}
}

/* ---- start and end ---- */

static void describe(struct handler *handler)
{
	const struct stage *stage = handler->stage;
	struct pf_guest *guest = &handler->guest;

	guest->table = stage->table;
	guest->has_faults = stage->fault_fd >= 0;
	guest->fault_fd = stage->fault_fd;
	guest->uffds = MAPPINGS;
	for (uint32_t u = 0; u < MAPPINGS; u++)
		guest->uffd[u].fd = stage->uffd[u];
	for (uint32_t r = 0; r < stage->table.count; r++) {
		guest->region[r].id = r;
		guest->region[r].kind = stage_row(stage, r)->kind;
		guest->region[r].discards = !stage_row(stage, r)->keeps;
		guest->region[r].fd = stage->region[r].fd;
		guest->region[r].has_bitmap = stage->region[r].bitmap_fd >= 0;
		guest->region[r].bitmap_fd = stage->region[r].bitmap_fd;
		guest->region[r].mappings = stage->region[r].mappings;
		for (uint32_t m = 0; m < stage->region[r].mappings; m++) {
			guest->region[r].mapping[m].uffd = stage->region[r].uffd[m];
			guest->region[r].mapping[m].base = stage->region[r].base[m];
		}
	}
}

static int open_guest(struct handler *handler, struct pf_err *err)
{
	struct stage *stage = handler->stage;

	describe(handler);
	if (atomic_load(&stage->armed)) {
		atomic_fetch_add(&stage->taken_up, 1);
		return pf_guest_take_up(&handler->guest, stage->state_dir, err);
	}
	if (pf_guest_arm(&handler->guest, stage->state_dir, err))
		return -1;
	atomic_store(&stage->armed, true);
	return 0;
}

static int open_assemblies(struct handler *handler, struct pf_err *err)
{
	for (uint32_t i = 0; i <= CHANNELS; i++)
		if (pf_assembly_init(&handler->assembly[i], &handler->guest.table, err))
			return -1;
	return 0;
}

static int open_handler(struct handler *handler, char *tls_dir, struct pf_err *err)
{
	struct pf_guest *guest = &handler->guest;
	struct sockaddr_storage bound;
	char address[PF_ENDPOINT_TEXT_MAX];

	handler->options = (struct pf_options){.side = PF_DESTINATION,
					       .listen = {.host = "127.0.0.1"},
					       .tls_dir = tls_dir,
					       .id = "kill",
					       .peer_name = "source"};
	if (open_guest(handler, err) || open_assemblies(handler, err) ||
	    pf_mailbox_init(&handler->inbox, err) ||
	    pf_pager_start(&handler->pager, &handler->inbox, &handler->filled_told,
			   &handler->assembly[0], err))
		return -1;
	pf_pager_tell(&handler->pager, PF_MAIL_GUEST, &guest, sizeof(guest));
	if (pf_acceptor_open(&handler->options, -1, &handler->inbox, &handler->acceptor, &bound, err) ||
	    pf_acceptor_start(handler->acceptor, err))
		return -1;
	pf_sockaddr_print(&bound, address);
	say(SAID_PORT, (uint32_t)strtoul(strrchr(address, ':') + 1, NULL, 10));
	return 0;
}

static int close_handler(struct handler *handler)
{
	struct pf_err err;

	pf_acceptor_stop(handler->acceptor);
	pf_pager_stop(&handler->pager, false);
	stop_bulk(handler);
	pf_pager_done(&handler->pager);
	pf_mailbox_done(&handler->inbox);
	if (pf_guest_disarm(&handler->guest, &err)) {
		fprintf(stderr, "handler: %s\n", err.text);
		handler->failed = true;
	}
	for (uint32_t i = 0; i <= CHANNELS; i++)
		pf_assembly_done(&handler->assembly[i]);
	pf_guest_done(&handler->guest);
	return handler->failed ? 1 : 0;
}

int handler_main(struct stage *stage)
{
	struct handler *handler = calloc(1, sizeof(*handler));
	char tls_dir[32];
	struct pf_err err;
	int status;

	snprintf(tls_dir, sizeof(tls_dir), "/proc/self/fd/%d", stage->tls_dir);
	handler->stage = stage;
	if (open_handler(handler, tls_dir, &err)) {
		fprintf(stderr, "handler: %s\n", err.text);
		return 1;
	}
	for (;;) {
		struct pollfd pfd[2] = {{.fd = STDIN_FILENO, .events = POLLIN},
					{.fd = handler->inbox.event_fd, .events = POLLIN}};
		struct pf_mail mail;

		maybe_filled(handler);
		(void)poll(pfd, 2, -1);
		while (pf_mailbox_take(&handler->inbox, &mail)) {
			take_mail(handler, &mail);
			free(mail.data);
		}
		if (pfd[0].revents || handler->failed)
			break;
	}
	status = close_handler(handler);
	free(handler);
	return status;
}
