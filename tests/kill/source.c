/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/kill/source.c - the source: the real connecting, urgent and bulk threads over real TLS.
 *
 * Ports come on stdin, one for each handler; to the latest one it connects.  All pages are pushed
 * again to each: what a new handler knows of its pages it has from the journal alone.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "migrate/source.h"
#include "stage.h"

#define PUSHES_PER_S 4u /* of all memory: so that faults, too, find something to do */

struct source {
	struct stage *stage;
	struct pf_options options;
	struct pf_mailbox inbox;
	struct pf_service service;
	struct pf_connector connector;
	struct pf_link urgent, bulk[CHANNELS];
	struct pf_answers answers;
	struct pf_pusher pusher[CHANNELS];
	uint32_t port, epoch;
	bool up;
};

static void hang_up(struct source *source)
{
	pf_connector_stop(&source->connector);
	pf_link_stop(&source->urgent, false);
	for (uint32_t i = 0; i < CHANNELS; i++)
		pf_link_stop(&source->bulk[i], false);
	source->up = false;
}

static void call(struct source *source, uint32_t port)
{
	struct pf_err err;

	hang_up(source);
	source->port = port;
	source->options.connects = 1;
	source->options.connect[0] = (struct pf_endpoint){.host = "127.0.0.1",
							  .port = (uint16_t)port};
	if (pf_connector_start(&source->connector, &source->options, &source->inbox,
			       pf_now_ns() + PATIENCE_MS * PF_NS_PER_MS, false, &err))
		fprintf(stderr, "source: %s\n", err.text);
}

static int start_links(struct source *source, struct pf_connected *connected, struct pf_err *err)
{
	source->epoch = connected->welcome.epoch;
	pf_push_reset(&source->service.push);
	pf_gate_reset(&source->service.gate);
	memset(&source->answers, 0, sizeof(source->answers));
	source->answers.service = &source->service;
	if (pf_link_start(&source->urgent, pf_steal(&connected->channel[0]), &source->inbox, 0,
			  source->epoch, &pf_answers_user, &source->answers, "urgent", err))
		return -1;
	pf_link_agree(&source->urgent, &source->service.reader.table);
	pf_link_tell(&source->urgent, PF_MAIL_SERVE, NULL, 0);
	for (uint32_t i = 0; i < CHANNELS; i++) {
		memset(&source->pusher[i], 0, sizeof(source->pusher[i]));
		source->pusher[i].service = &source->service;
		source->pusher[i].state_fd = -1;
		pf_credit_begin(&source->pusher[i].credit);
		if (pf_link_start(&source->bulk[i], pf_steal(&connected->channel[i + 1]),
				  &source->inbox, i + 1, source->epoch, &pf_pusher_user,
				  &source->pusher[i], "bulk", err))
			return -1;
	}
	source->up = true;
	return 0;
}

/* It may be with a handler that is gone, while the next one is being called. */
static void take_connected(struct source *source, struct pf_connected *connected)
{
	char address[PF_ENDPOINT_TEXT_MAX];
	struct pf_err err;

	pf_endpoint_print(&source->options.connect[0], address);
	if (strcmp(address, connected->address) == 0) {
		pf_connector_stop(&source->connector);
		if (start_links(source, connected, &err))
			call(source, source->port);
	}
	pf_connected_free(connected);
}

static void take_mail(struct source *source, const struct pf_mail *mail)
{
	if (mail->kind == PF_MAIL_CONNECTED)
		take_connected(source, mail->data);
	if (mail->kind == PF_MAIL_GIVE_UP)
		fprintf(stderr, "source: %s\n", ((struct pf_err *)mail->data)->text);
	if (!source->up || mail->origin != source->epoch)
		return;
	if (mail->kind == PF_MAIL_DOWN)
		call(source, source->port); /* until a handler with another port is there */
	else if (mail->kind == PF_MAIL_FRAME && mail->number == PF_FRAME_REGIONS_OK)
		for (uint32_t i = 0; i < CHANNELS; i++)
			pf_link_tell(&source->bulk[i], PF_MAIL_PUSH, NULL, 0);
}

/* Behind the end of a file nothing can be read; who checks it wants it as long as its region. */
static int end_files(const struct stage *stage, bool whole, struct pf_err *err)
{
	for (uint32_t r = 0; r < stage->table.count; r++) {
		const struct pf_region_shape *shape = &stage->table.region[r];
		uint64_t pages = whole ? pf_region_pages(shape) : stage_lost_from(stage, r);

		if (stage_lost_from(stage, r) < pf_region_pages(shape) &&
		    ftruncate(stage->region[r].source_fd, (off_t)(pages * shape->page_size)) != 0)
			return pf_err_sys(err, "setting the end of region %u", r);
	}
	return 0;
}

static int open_source(struct source *source, char *tls_dir, struct pf_err *err)
{
	struct stage *stage = source->stage;
	uint64_t bytes = 0;

	source->options = (struct pf_options){.side = PF_SOURCE,
					      .tls_dir = tls_dir,
					      .id = "kill",
					      .peer_name = "destination",
					      .channels = CHANNELS};
	source->service.reader.table = stage->table;
	for (uint32_t r = 0; r < stage->table.count; r++) {
		source->service.reader.region[r].fd = stage->region[r].source_fd;
		source->service.reader.region[r].kind = stage_source_row(stage, r)->kind;
		bytes += stage->table.region[r].size;
	}
	source->service.pace.bytes_per_s = PUSHES_PER_S * bytes;
	if (end_files(stage, true, err) || pf_reader_check(&source->service.reader, err) ||
	    end_files(stage, false, err) || pf_push_init(&source->service.push, &source->service.reader.table, err))
		return -1;
	return pf_mailbox_init(&source->inbox, err);
}

int source_main(struct stage *stage)
{
	struct source *source = calloc(1, sizeof(*source));
	char tls_dir[32];
	struct pf_err err;

	snprintf(tls_dir, sizeof(tls_dir), "/proc/self/fd/%d", stage->tls_dir);
	source->stage = stage;
	if (open_source(source, tls_dir, &err)) {
		fprintf(stderr, "source: %s\n", err.text);
		return 1;
	}
	for (;;) {
		struct pollfd pfd[2] = {{.fd = STDIN_FILENO, .events = POLLIN},
					{.fd = source->inbox.event_fd, .events = POLLIN}};
		struct pf_mail mail;
		uint32_t port;

		(void)poll(pfd, 2, -1);
		if (pfd[0].revents && read(STDIN_FILENO, &port, sizeof(port)) != sizeof(port))
			break;
		if (pfd[0].revents)
			call(source, port);
		while (pf_mailbox_take(&source->inbox, &mail)) {
			take_mail(source, &mail);
			free(mail.data);
		}
	}
	hang_up(source);
	pf_push_done(&source->service.push);
	pf_mailbox_done(&source->inbox);
	free(source);
	return 0;
}
