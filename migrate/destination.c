/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/destination.c - the destination's engine: its beginning and end, its threads' mail, its parameters.
 *
 * Main thread only; never blocks but for joining threads that were told to end.  What it does is in
 * destination_actions.c, by core/destination_table.c.
 */
#include "migrate/destination_engine.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/cleanup.h"
#include "migrate/agent_main.h"
#include "migrate/report.h"

static void on_state(struct destination *destination, const struct pf_mail_state *state)
{
	pf_close_fd(&destination->state.fd);
	destination->state = *state;
	pf_agent_note(&destination->agent, PF_DE_STATE);
}

/*
 * A way that is gone ends a connection at once, and what the urgent thread had read may come behind that.  Of a
 * session that goes on the next connection says it again; behind its acknowledgement a source ends, and nobody
 * would.
 */
static bool is_last_word(const struct destination *destination, const struct pf_mail *mail)
{
	return mail->kind == PF_MAIL_FRAME && mail->number == PF_FRAME_COMPLETE_ACK &&
	       mail->origin == destination->agent.epoch;
}

/* By this side: it has ended then, whatever the source says meanwhile on another connection. */
static bool was_refused(const struct pf_err *why)
{
	return why->class == PF_ERR_PROTOCOL;
}

static void destination_mail(void *engine, struct pf_mail *mail)
{
	struct destination *destination = engine;
	struct pf_err err;

	if (pf_destination_news(destination, mail))
		return;
	if (is_last_word(destination, mail)) {
		pf_agent_note(&destination->agent, PF_DE_ACK);
		return;
	}
	if (mail->origin != destination->agent.epoch || !destination->urgent_up) {
		if (mail->kind == PF_MAIL_STATE_HERE)
			pf_close_fd(&((struct pf_mail_state *)mail->data)->fd);
		return; /* from a connection that is gone */
	}
	if (mail->kind == PF_MAIL_DOWN && mail->number > 0 && !was_refused(mail->data))
		/* The last word on urgent may not have been read yet: the session ends behind it. */
		pf_pager_tell(&destination->pager, PF_MAIL_DETACH, mail->data, mail->length);
	else if (mail->kind == PF_MAIL_DOWN)
		pf_session_down(destination, mail->data);
	else if (mail->kind == PF_MAIL_STATE_HERE)
		on_state(destination, mail->data);
	else if (mail->kind == PF_MAIL_FRAME && pf_destination_frame(destination, mail, &err))
		pf_session_down(destination, &err);
}

static int on_door(sd_event_source *event_source, int fd, uint32_t events, void *opaque)
{
	struct destination *destination = opaque;
	struct pf_mail mail;

	(void)event_source, (void)fd, (void)events;
	while (!destination->agent.ending && pf_mailbox_take(&destination->door, &mail)) {
		(void)pf_destination_news(destination, &mail);
		free(mail.data);
	}
	return 0;
}

/* ---- parameters and main ---- */

static int destination_set(void *engine, const char *name, const json_t *value, bool apply,
			   struct pf_err *err)
{
	(void)engine, (void)value, (void)apply;
	return pf_err_set(err, PF_ERR_USAGE, "'%s' is the source's, or cannot be changed in this version",
			  name);
}

static size_t destination_boxes(void *engine, struct pf_mailbox **out)
{
	struct destination *destination = engine;
	size_t count = 0;

	out[count++] = &destination->pager.outbox;
	for (uint32_t i = 0; i < PF_CHANNELS_MAX; i++)
		if (destination->bulk[i].started)
			out[count++] = &destination->bulk[i].outbox;
	return count;
}

static bool destination_late(void *engine, uint64_t now_ns)
{
	const struct destination *destination = engine;

	return pf_acceptor_late(destination->acceptor, now_ns);
}

static const struct pf_agent_ops destination_ops = {
	.boxes = destination_boxes,
	.late = destination_late,
	.set = destination_set,
	.pause = pf_destination_pause,
	.recover = pf_destination_recover,
	.restore = pf_destination_restore,
	.act = pf_destination_act,
	.mail = destination_mail,
	.path = pf_destination_path,
	.status = pf_destination_status,
};

static void destination_close(struct destination *destination)
{
	pf_acceptor_stop(destination->acceptor);
	pf_session_settle(destination);
	pf_session_stop_bulk(destination, true);
	pf_pager_done(&destination->pager);
	pf_agent_close(&destination->agent);
	pf_mailbox_done(&destination->door);
	if (destination->armed)
		pf_guest_done(&destination->guest);
	pf_close_fd(&destination->state.fd);
	explicit_bzero(destination->secret, sizeof(destination->secret));
	for (uint32_t i = 0; i < PF_CHANNELS_MAX; i++)
		free(destination->receiver[i]);
	for (uint32_t i = 0; i <= PF_CHANNELS_MAX; i++)
		pf_assembly_done(&destination->assembly[i]);
	free(destination);
}

static int open_door(struct destination *destination, struct sockaddr_storage *out_bound,
		     struct pf_err *err)
{
	struct pf_agent *agent = &destination->agent;

	if (pf_mailbox_init(&destination->door, err))
		return -1;
	if (sd_event_add_io(agent->loop, NULL, destination->door.event_fd, EPOLLIN, on_door,
			    destination) < 0)
		return pf_err_set(err, PF_ERR_SYSTEM, "watching the mailbox of the accept thread");
	if (pf_acceptor_open(agent->options, pf_kept_take(agent->kept, "listen"),
			     &destination->door, &destination->acceptor, out_bound, err))
		return -1;
	return pf_kept_store(agent->kept, "listen", pf_acceptor_fd(destination->acceptor), err);
}

static int destination_open(struct destination *destination, const struct pf_options *options,
			    struct pf_kept *kept, struct pf_err *err)
{
	struct pf_agent *agent = &destination->agent;
	struct sockaddr_storage bound;
	char address[PF_ENDPOINT_TEXT_MAX];

	if (pf_agent_open(agent, options, kept, &pf_destination_machine, &destination_ops, destination,
			  &pf_destination_vmm, err))
		return -1;
	agent->spin_limit_ns = &destination->pager.spin.limit_ns;
	atomic_store(agent->spin_limit_ns, agent->spin_ns);
	destination->pager.pulse.timeout_ns = &agent->link_timeout_ns;
	if (open_door(destination, &bound, err) || pf_agent_confine(agent, err) ||
	    pf_pager_start(&destination->pager, &agent->inbox, &destination->filled_told,
			   &destination->assembly[0], err) ||
	    pf_destination_again(destination, err) ||
	    pf_acceptor_start(destination->acceptor, err)) {
		pf_pager_stop(&destination->pager, false);
		pf_pager_done(&destination->pager);
		pf_acceptor_stop(destination->acceptor);
		pf_agent_close(agent);
		pf_mailbox_done(&destination->door);
		return -1;
	}
	pf_sockaddr_print(&bound, address);
	pf_agent_emit(agent, "LISTENING", json_pack("{s:s}", "address", address));
	pf_agent_begin(agent);
	return 0;
}

int pf_destination_main(const struct pf_options *options, struct pf_kept *kept)
{
	struct destination *destination = calloc(1, sizeof(*destination));
	struct pf_err err;
	int code;

	if (!destination) {
		pf_err_set(&err, PF_ERR_SYSTEM, "out of memory");
		pf_report("destination", &err);
		return pf_err_exit_code(&err);
	}
	destination->state.fd = -1;
	if (destination_open(destination, options, kept, &err)) {
		free(destination);
		pf_report("destination", &err);
		return pf_err_exit_code(&err);
	}
	code = pf_agent_run(&destination->agent);
	destination_close(destination);
	return code;
}
