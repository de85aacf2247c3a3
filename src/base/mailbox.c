/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* base/mailbox.c - see base/mailbox.h. */
#include "base/mailbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

int pf_mailbox_init(struct pf_mailbox *box, struct pf_err *err)
{
	memset(box, 0, sizeof(*box));
	box->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (box->event_fd < 0)
		return pf_err_sys(err, "creating an eventfd");
	pthread_mutex_init(&box->lock, NULL);
	return 0;
}

void pf_mailbox_done(struct pf_mailbox *box)
{
	struct pf_mail mail;

	if (box->event_fd <= 0)
		return;
	while (pf_mailbox_take(box, &mail)) {
		if (box->drop)
			box->drop(&mail);
		free(mail.data);
	}
	close(box->event_fd);
	box->event_fd = -1;
	pthread_mutex_destroy(&box->lock);
}

bool pf_mailbox_post(struct pf_mailbox *box, const struct pf_mail *mail)
{
	bool room;

	pthread_mutex_lock(&box->lock);
	room = box->count < PF_MAILBOX_SLOTS;
	if (room)
		box->slot[(box->head + box->count++) % PF_MAILBOX_SLOTS] = *mail;
	pthread_mutex_unlock(&box->lock);
	if (!room) {
		free(mail->data);
		return false;
	}
	/* Cannot fail: one count a mail never comes near the counter's limit of 2^64 - 2. */
	(void)eventfd_write(box->event_fd, 1);
	return true;
}

bool pf_mailbox_half_full(struct pf_mailbox *box)
{
	bool half;

	pthread_mutex_lock(&box->lock);
	half = box->count >= PF_MAILBOX_SLOTS / 2;
	pthread_mutex_unlock(&box->lock);
	return half;
}

uint64_t pf_mailbox_due(struct pf_mailbox *box)
{
	uint64_t due;

	pthread_mutex_lock(&box->lock);
	due = box->taken + box->count;
	pthread_mutex_unlock(&box->lock);
	return due;
}

uint64_t pf_mailbox_taken(struct pf_mailbox *box)
{
	uint64_t taken;

	pthread_mutex_lock(&box->lock);
	taken = box->taken;
	pthread_mutex_unlock(&box->lock);
	return taken;
}

bool pf_mailbox_take(struct pf_mailbox *box, struct pf_mail *out_mail)
{
	eventfd_t ignored;
	bool found;

	/*
	 * The count is taken before the look, so that a post between the two leaves the fd
	 * readable: a wake-up too many, never one too few.
	 */
	pthread_mutex_lock(&box->lock);
	if (box->count <= 1)
		(void)eventfd_read(box->event_fd, &ignored);
	found = box->count > 0;
	if (found) {
		*out_mail = box->slot[box->head];
		box->head = (box->head + 1) % PF_MAILBOX_SLOTS;
		box->count--;
		box->taken++;
	}
	pthread_mutex_unlock(&box->lock);
	return found;
}
