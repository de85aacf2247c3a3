/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* migrate/vmm_outbox.c - see migrate/vmm_outbox.h; unix(7), cgroups(7). */
#include "migrate/vmm_outbox.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/unixsock.h"

static enum pf_vmm_sent send_now(int socket, const void *bytes, size_t length, int fd)
{
	struct pf_err err;

	if (pf_unix_send(socket, bytes, length, &fd, fd < 0 ? 0 : 1, &err) == 0)
		return PF_VMM_SENT;
	return pf_unix_no_memory(err.sys) ? PF_VMM_WAITS : PF_VMM_UNSENT;
}

static enum pf_vmm_sent keep(struct pf_vmm_outbox *outbox, const void *bytes, size_t length, int fd)
{
	int own = -1;

	if (outbox->count == PF_VMM_OUTBOX_MESSAGES || length > PF_VMM_OUTBOX_BYTES)
		return PF_VMM_UNSENT;
	if (fd >= 0 && (own = fcntl(fd, F_DUPFD_CLOEXEC, 3)) < 0)
		return PF_VMM_UNSENT;
	outbox->message[outbox->count].length = length;
	outbox->message[outbox->count].fd = own;
	memcpy(outbox->message[outbox->count].bytes, bytes, length);
	outbox->count++;
	return PF_VMM_WAITS;
}

enum pf_vmm_sent pf_vmm_outbox_send(struct pf_vmm_outbox *outbox, int socket, const void *bytes,
				    size_t length, int fd)
{
	enum pf_vmm_sent sent = outbox->count ? PF_VMM_WAITS : send_now(socket, bytes, length, fd);

	return sent == PF_VMM_WAITS ? keep(outbox, bytes, length, fd) : sent;
}

static void drop_first(struct pf_vmm_outbox *outbox)
{
	pf_close_fd(&outbox->message[0].fd);
	outbox->count--;
	memmove(&outbox->message[0], &outbox->message[1], outbox->count * sizeof(outbox->message[0]));
}

enum pf_vmm_sent pf_vmm_outbox_flush(struct pf_vmm_outbox *outbox, int socket)
{
	enum pf_vmm_sent sent = PF_VMM_SENT;

	while (outbox->count > 0) {
		sent = send_now(socket, outbox->message[0].bytes, outbox->message[0].length,
				outbox->message[0].fd);
		if (sent != PF_VMM_SENT)
			break;
		drop_first(outbox);
	}
	return sent;
}

void pf_vmm_outbox_clear(struct pf_vmm_outbox *outbox)
{
	while (outbox->count > 0)
		drop_first(outbox);
}
