/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/unit/pager_kit.c - see tests/unit/pager_kit.h. */
#include "pager_kit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/wait.h"

/* A real connection: the source's end, and the destination's. */
static void connect_pair(struct pager_kit *kit, bool urgent, struct pf_channel **out_source,
			 struct pf_channel **out_destination)
{
	struct pf_conn *client, *server;
	struct pf_err err;

	kit_pair(&kit_tls, &client, &server);
	if (pf_channel_new(client, PF_SOURCE, urgent, out_source, &err) ||
	    pf_channel_new(server, PF_DESTINATION, urgent, out_destination, &err))
		fail_msg("%s", err.text);
	pf_channel_expect(*out_source, PK_EPOCH, &kit->guest.table, 0);
	pf_channel_expect(*out_destination, PK_EPOCH, NULL, 0);
}

static void await(struct pf_channel *channel)
{
	assert_int_equal(pf_wait_fd(pf_conn_fd(pf_channel_conn(channel)),
				    pf_channel_wants(channel), wait_deadline(), -1),
			 0);
}

static struct pf_frame receive(struct pager_kit *kit)
{
	const uint8_t *body;
	struct pf_frame frame;
	struct pf_err err;
	enum pf_io io;

	while ((io = pf_channel_recv(kit->urgent, &frame, &body, &err)) == PF_IO_AGAIN)
		await(kit->urgent);
	if (io == PF_IO_ERROR)
		fail_msg("%s", err.text);
	assert_int_equal(io, PF_IO_OK);
	return frame;
}

uint64_t pk_request(struct pager_kit *kit)
{
	struct pf_frame frame = receive(kit);

	assert_int_equal(frame.type, PF_FRAME_REQUEST);
	assert_int_equal(frame.count, 1);
	return frame.page;
}

bool pk_try_request(struct pager_kit *kit, uint64_t *out_page)
{
	const uint8_t *body;
	struct pf_frame frame;
	struct pf_err err;
	enum pf_io io = pf_channel_recv(kit->urgent, &frame, &body, &err);

	if (io == PF_IO_AGAIN)
		return false;
	if (io == PF_IO_ERROR)
		fail_msg("%s", err.text);
	assert_int_equal(io, PF_IO_OK);
	assert_int_equal(frame.type, PF_FRAME_REQUEST);
	*out_page = frame.page;
	return true;
}

void pk_connect(struct pager_kit *kit)
{
	struct pf_channel *theirs;

	connect_pair(kit, true, &kit->urgent, &theirs);
	pf_pager_attach(&kit->pager, theirs, PK_EPOCH);
	pf_pager_agree(&kit->pager, PK_EPOCH, &kit->guest.table);
	assert_int_equal(receive(kit).type, PF_FRAME_REGIONS_OK);
}

void pk_resume(struct pager_kit *kit)
{
	struct pf_channel *old = kit->urgent, *theirs;

	connect_pair(kit, true, &kit->urgent, &theirs);
	pf_pager_attach(&kit->pager, theirs, PK_EPOCH);
	pf_pager_go_on(&kit->pager, PK_EPOCH, &kit->guest.table);
	/* Whatever is heard on the new one, the old one has been let go of. */
	pf_channel_free(old);
}

void pk_connect_bulk(struct pager_kit *kit, uint32_t i, bool may_push)
{
	struct pf_receiver *receiver = &kit->receiver[i];
	struct pf_link *link = &kit->bulk[i];
	struct pf_channel *theirs;
	struct pf_err err;
	char name[16];

	connect_pair(kit, false, &kit->push[i], &theirs);
	*receiver = (struct pf_receiver){
		.may_push = may_push, .state_fd = -1, .max_device_state = 1 << 20};
	/* The test's source reads no CREDIT: it has all that it needs from the start. */
	pf_grant_begin(&receiver->grant);
	receiver->grant.limit = UINT32_MAX;
	receiver->arrival = (struct pf_arrival){
		.guest = &kit->guest,
		.inbox = &kit->inbox,
		.stop = &link->stop,
		.filled_told = &kit->filled_told,
		.maps = &kit->pager.maps,
		.owed = &kit->pager.requests,
		.assembly = &kit->assembly[i + 1],
	};
	snprintf(name, sizeof(name), "bulk-%u", i + 1);
	if (pf_link_start(link, theirs, &kit->inbox, i + 1, PK_EPOCH, &pf_receiver_user, receiver,
			  name, &err))
		fail_msg("%s", err.text);
	pf_link_agree(link, &kit->guest.table);
}

bool pk_is_bulk_thread(void)
{
	char name[16];

	return pthread_getname_np(pthread_self(), name, sizeof(name)) == 0 &&
	       strcmp(name, "bulk-1") == 0;
}

void pk_give(struct pager_kit *kit)
{
	struct pf_guest *guest = &kit->guest;

	pf_pager_tell(&kit->pager, PF_MAIL_GUEST, &guest, sizeof(guest));
}

/* A page that is larger than a frame comes in parts: to each connection a buffer for it. */
static void set_row(struct pager_kit *kit, const struct memory_row *row)
{
	struct pf_err err;

	kit->guest.table.region[0].page_size = row->page_size;
	kit->guest.region[0].kind = row->kind;
	for (uint32_t i = 0; i <= PK_BULKS; i++)
		if (pf_assembly_init(&kit->assembly[i], &kit->guest.table, &err))
			fail_msg("%s", err.text);
}

void pk_open(struct pager_kit *kit, const struct pk_how *how)
{
	uint64_t small = how->row ? how->row->page_size / PAGE : 1;
	struct pf_err err = {0};

	memset(kit, 0, sizeof(*kit));
	kit->dirfd = dir_make();
	vmm_start(&kit->vmm, (how->pages + how->beyond) * small, how->mappings ? how->mappings : 1,
		  how->features, how->memfd ? how->memfd : -1);
	guest_fill(&kit->guest, &kit->vmm, how->pages * small);
	if (how->row)
		set_row(kit, how->row);
	if (pf_guest_arm(&kit->guest, kit->dirfd, &err) || pf_mailbox_init(&kit->inbox, &err) ||
	    pf_pager_start(&kit->pager, &kit->inbox, &kit->filled_told, &kit->assembly[0], &err))
		fail_msg("%s", err.text);
	if (!how->hold)
		pk_give(kit);
	if (!how->offline)
		pk_connect(kit);
}

void pk_close(struct pager_kit *kit)
{
	pf_pager_stop(&kit->pager, false);
	for (uint32_t i = 0; i < PK_BULKS; i++)
		pf_link_stop(&kit->bulk[i], false);
	pf_pager_done(&kit->pager);
	pf_mailbox_done(&kit->inbox);
	pf_channel_free(kit->urgent);
	for (uint32_t i = 0; i < PK_BULKS; i++)
		pf_channel_free(kit->push[i]);
	for (uint32_t i = 0; i <= PK_BULKS; i++)
		pf_assembly_done(&kit->assembly[i]);
	vmm_stop(&kit->vmm);
	pf_guest_done(&kit->guest);
	dir_remove(kit->dirfd);
}

bool pk_try_send(struct pf_channel *channel, struct pf_frame frame, const void *body)
{
	struct pf_err err;
	enum pf_io io;

	if (!pf_channel_put(channel, &frame, body))
		return false;
	while ((io = pf_channel_flush(channel, &err)) == PF_IO_AGAIN)
		if (pf_wait_fd(pf_conn_fd(pf_channel_conn(channel)), pf_channel_wants(channel),
			       wait_deadline(), -1))
			return false;
	return io == PF_IO_OK;
}

void pk_send(struct pf_channel *channel, struct pf_frame frame, const void *body)
{
	assert_true(pk_try_send(channel, frame, body));
}

void pk_pages(struct pf_channel *channel, uint64_t first, uint32_t count)
{
	uint8_t bytes[PF_RUN_BYTES_MAX];

	page_fill(bytes, first, count);
	pk_send(channel,
		(struct pf_frame){.type = PF_FRAME_PAGES,
				  .page = first,
				  .count = count,
				  .length = count * PAGE},
		bytes);
}

void pk_page_error(struct pf_channel *channel, uint64_t page, int sys)
{
	pk_send(channel,
		(struct pf_frame){.type = PF_FRAME_PAGE_ERROR,
				  .page = page,
				  .count = 1,
				  .extra = (uint32_t)sys},
		NULL);
}

struct pf_mail pk_mail(struct pager_kit *kit, enum pf_mail_kind kind)
{
	struct pf_mail mail;

	for (;;) {
		while (!pf_mailbox_take(&kit->inbox, &mail))
			wait_readable(kit->inbox.event_fd);
		if (mail.kind == kind)
			return mail;
		if (mail.kind == PF_MAIL_DOWN)
			fail_msg("%s", ((struct pf_err *)mail.data)->text);
		free(mail.data);
	}
}

void pk_await_state(struct pager_kit *kit, uint64_t page, enum pf_page_state state)
{
	WAIT_UNTIL(pf_journal_state(&kit->guest.journal, 0, page) == state);
}

void pk_await_filled(struct pager_kit *kit, uint64_t pages)
{
	WAIT_UNTIL(atomic_load(&kit->guest.journal.filled) >= pages);
	assert_int_equal(kit->guest.journal.filled, pages);
}

void pk_reply_word(struct pager_kit *kit, uint64_t page, uint64_t word)
{
	struct vmm_reply reply = vmm_reply(&kit->vmm);

	assert_int_equal(reply.page, page);
	assert_int_equal(reply.value, word);
	assert_true(reply.uniform);
}

void pk_barrier(struct pager_kit *kit, uint64_t page)
{
	vmm_tell(&kit->vmm, VMM_READ, 0, page, 0);
	assert_int_equal(pk_request(kit), page);
	pk_pages(kit->urgent, page, 1);
	pk_reply_word(kit, page, page_word(page));
}
