/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/vmm_native.c - the native dialect on --vmm-socket: proto/vmm.proto over SOCK_SEQPACKET.
 *
 * Main thread, on its event loop, never blocks.  A VMM that breaks the protocol loses its
 * connection: it is told why by ERROR, and the engine by `lost`.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/unixsock.h"
#include "migrate/vmm.h"
#include "migrate/vmm_outbox.h"
#include "migrate/vmm_saved.h"

#define AGAIN_US 100000u /* what had no memory is sent again */

struct pf_vmm {
	sd_event *loop; /* borrowed */
	enum pf_side side;
	const struct pf_vmm_callbacks *callbacks;
	void *engine;
	char path[108];
	int listen_fd, fd; /* fd: -1 while no VMM is connected */
	sd_event_source *listen_source, *source;
	struct pf_kept *kept;	 /* borrowed */
	struct pf_statedir *dir; /* borrowed */
	bool said_hello;  /* the client has, and is kept */
	bool said_regions; /* on this connection */
	bool peeked;	  /* the message that is being dealt with is on the socket still */
	uint32_t asked;	  /* it was kept, and is to answer this ATTACH: nothing else that comes is of this
			     process.  0: it has */
	bool told_resume; /* the client was */
	bool told_why;	  /* it was told ERROR */
	struct pf_vmm_hello hello; /* the client's */
	struct pf_vmm_outbox outbox;
	sd_event_source *again; /* while something waits in it */
	void (*sent)(void *opaque, bool all); /* the caller wants to know when nothing does */
	void *sent_opaque;
	struct pf_vmm_message message;	 /* the one that is being read or written */
	uint8_t buffer[PF_VMM_MESSAGE_MAX];
};

static void tell_sent(struct pf_vmm *vmm, bool all)
{
	void (*sent)(void *opaque, bool all) = vmm->sent;

	vmm->sent = NULL;
	if (sent)
		sent(vmm->sent_opaque, all);
}

/* With its descriptors, which are ours twice until then. */
static void take_off(struct pf_vmm *vmm)
{
	char ignored;

	/* ECONNRESET is said once, before what is there still: see pf_unix_recv(). */
	while (vmm->peeked && recv(vmm->fd, &ignored, sizeof(ignored), MSG_DONTWAIT) < 0 &&
	       (errno == EINTR || errno == ECONNRESET))
		continue;
	vmm->peeked = false;
}

static void close_client(struct pf_vmm *vmm)
{
	/* Closed above something unread, the client would hear ECONNRESET before our last word. */
	take_off(vmm);
	vmm->again = sd_event_source_disable_unref(vmm->again);
	pf_vmm_outbox_clear(&vmm->outbox);
	vmm->source = sd_event_source_disable_unref(vmm->source);
	/* The keeper has the socket too, and its client is to see it end now. */
	if (vmm->said_hello) {
		(void)shutdown(vmm->fd, SHUT_RDWR);
		pf_kept_forget(vmm->kept, "vmm");
	}
	pf_close_fd(&vmm->fd);
	vmm->said_hello = vmm->said_regions = vmm->told_resume = vmm->told_why = false;
	vmm->asked = 0;
	tell_sent(vmm, false);
}

static int on_again(sd_event_source *source, uint64_t usec, void *opaque);

/* false: it never will be sent. */
static bool heed(struct pf_vmm *vmm, enum pf_vmm_sent sent)
{
	if (sent == PF_VMM_WAITS && !vmm->again &&
	    sd_event_add_time_relative(vmm->loop, &vmm->again, CLOCK_MONOTONIC, AGAIN_US, 0, on_again,
				       vmm) < 0)
		sent = PF_VMM_UNSENT;
	/* A VMM that does not read its few messages, or is gone: hanging up wakes our own read,
	 * which reports it. */
	if (sent == PF_VMM_UNSENT)
		(void)shutdown(vmm->fd, SHUT_RDWR);
	return sent != PF_VMM_UNSENT;
}

static int on_again(sd_event_source *source, uint64_t usec, void *opaque)
{
	struct pf_vmm *vmm = opaque;
	enum pf_vmm_sent sent = pf_vmm_outbox_flush(&vmm->outbox, vmm->fd);

	(void)source, (void)usec;
	vmm->again = sd_event_source_disable_unref(vmm->again);
	(void)heed(vmm, sent);
	if (sent == PF_VMM_SENT)
		tell_sent(vmm, true);
	return 0;
}

/* state_fd: goes with it; -1: none does. */
static bool send_message(struct pf_vmm *vmm, int state_fd)
{
	size_t length;

	if (vmm->fd < 0)
		return false;
	length = pf_vmm_msg_pack(&vmm->message, vmm->buffer);
	return heed(vmm, pf_vmm_outbox_send(&vmm->outbox, vmm->fd, vmm->buffer, length, state_fd));
}

void pf_vmm_when_sent(struct pf_vmm *vmm, void (*sent)(void *opaque, bool all), void *opaque)
{
	vmm->sent = sent;
	vmm->sent_opaque = opaque;
	if (vmm->outbox.count == 0)
		tell_sent(vmm, vmm->fd >= 0);
}

void pf_vmm_say_why(struct pf_vmm *vmm, const struct pf_err *why)
{
	if (vmm->told_why)
		return;
	vmm->told_why = true;
	vmm->message.type = PF_VMM_ERROR;
	memset(vmm->message.reason, 0, sizeof(vmm->message.reason));
	pf_err_print(why, vmm->message.reason, PF_VMM_REASON_MAX + 1);
	(void)send_message(vmm, -1);
}

void pf_vmm_hang_up(struct pf_vmm *vmm, const struct pf_err *why)
{
	pf_vmm_say_why(vmm, why);
	close_client(vmm);
}

/*
 * The connection is of no more use.  Somebody who never said HELLO was no VMM (a second agent that
 * looks whether anybody answers on the path, say), and his going changes nothing.
 */
static void lose_client(struct pf_vmm *vmm, struct pf_err *why)
{
	bool was_vmm = vmm->said_hello;

	if (why->class == PF_ERR_PROTOCOL && !why->hint[0])
		pf_err_hint(why, "proto/WIRE.md, section 8, has the rules for a VMM");
	/* The engine first: what it still has to say to this VMM, that its guest runs on for one, must
	 * come before ERROR, which is the last word. */
	if (was_vmm)
		vmm->callbacks->lost(vmm->engine, why);
	if (why->class == PF_ERR_UNREACHABLE)
		close_client(vmm);
	else
		pf_vmm_hang_up(vmm, why);
}

void pf_vmm_broke(struct pf_vmm *vmm, struct pf_err *why)
{
	if (vmm->fd >= 0)
		lose_client(vmm, why);
}

static int handle_hello(struct pf_vmm *vmm, struct pf_err *err)
{
	const struct pf_vmm_hello *hello = &vmm->message.hello;
	uint32_t asked = vmm->asked;

	/* To the ATTACH of a process that did not live to read it. */
	if (asked && hello->attach != asked)
		return 0;
	if (vmm->said_hello && !asked)
		return pf_err_set(err, PF_ERR_PROTOCOL, "the VMM said HELLO twice");
	if (hello->destination != (vmm->side == PF_DESTINATION))
		return pf_err_set(err, PF_ERR_PROTOCOL, "the VMM says it is the %s, this agent is the %s",
				  hello->destination ? "destination" : "source",
				  hello->destination ? "source" : "destination");
	if (hello->attach && !asked)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "a HELLO that answers ATTACH %u, which this process has not said",
				  hello->attach);
	if (pf_vmm_save_hello(vmm->dir, hello, err) ||
	    (!asked && pf_kept_store(vmm->kept, "vmm", vmm->fd, err)))
		return -1;
	vmm->hello = *hello;
	vmm->said_hello = true;
	vmm->asked = 0;
	/* What it was told it may be answering just now. */
	vmm->told_resume = hello->stage == PF_VMM_RESUMING || hello->stage == PF_VMM_RUNS;
	if (!asked)
		return 0;
	vmm->said_regions = true; /* before this HELLO, or its connection ends here */
	return vmm->callbacks->back(vmm->engine, &vmm->hello, err);
}

const struct pf_vmm_hello *pf_vmm_hello(const struct pf_vmm *vmm)
{
	return &vmm->hello;
}

bool pf_vmm_is_asked(const struct pf_vmm *vmm)
{
	return vmm->asked != 0;
}

bool pf_vmm_is_new(const struct pf_vmm *vmm)
{
	return vmm->asked == 0 && vmm->hello.stage == PF_VMM_FRESH;
}

static int handle_message(struct pf_vmm *vmm, int *fds, struct pf_err *err)
{
	const struct pf_vmm_callbacks *call = vmm->callbacks;
	bool destination = vmm->side == PF_DESTINATION;
	enum pf_vmm_type type = vmm->message.type;

	if (type == PF_VMM_HELLO)
		return handle_hello(vmm, err);
	/* But REGIONS that nobody has read are not said again, and a VMM that has refused may have gone. */
	if (vmm->asked && type != PF_VMM_REGIONS && (type != PF_VMM_RESUME_REFUSED || !destination))
		return 0;
	if (!vmm->said_hello)
		return pf_err_set(err, PF_ERR_PROTOCOL, "the VMM said %s before HELLO",
				  pf_vmm_type_name(type));
	if (type == PF_VMM_REGIONS && vmm->said_regions)
		return pf_err_set(err, PF_ERR_PROTOCOL, "the VMM said REGIONS twice");
	if (type == PF_VMM_REGIONS) {
		vmm->said_regions = !vmm->asked;
		return call->regions(vmm->engine, &vmm->message.regions, fds, err);
	}
	if (type == PF_VMM_PAUSED && !destination)
		return call->paused(vmm->engine, pf_steal_fd(&fds[vmm->message.state.fd]),
				    vmm->message.state.size, err);
	if (type == PF_VMM_READY && destination)
		return call->ready(vmm->engine, err);
	/* An answer in advance could pass for the one that ends a pause, or that gives the guest back. */
	if ((type == PF_VMM_RESUMED || type == PF_VMM_RESUME_REFUSED) && destination &&
	    !vmm->told_resume && !vmm->asked)
		return pf_err_set(err, PF_ERR_PROTOCOL, "the VMM said %s without RESUME",
				  pf_vmm_type_name(type));
	if (type == PF_VMM_RESUMED && destination)
		call->resumed(vmm->engine);
	else if (type == PF_VMM_RESUME_REFUSED && destination)
		call->refused(vmm->engine, vmm->message.reason);
	else
		return pf_err_set(err, PF_ERR_PROTOCOL, "the VMM of the %s said %s",
				  destination ? "destination" : "source", pf_vmm_type_name(type));
	return 0;
}

/*
 * REGIONS stay on the socket, which the keeper has too, until they are saved: a VMM says them once, and a worker that
 * dies in between leaves them to the next.  The rest of what it says is in its HELLO again.
 */
static int take_message(struct pf_vmm *vmm, int *fds, struct pf_err *err)
{
	int failed;

	if (vmm->message.type != PF_VMM_REGIONS) {
		take_off(vmm);
		return handle_message(vmm, fds, err);
	}
	failed = handle_message(vmm, fds, err);
	take_off(vmm);
	return failed;
}

/* recvmsg(2) says 0 at the end, and of a message of 0 bytes. */
static int take_nothing(struct pf_vmm *vmm, struct pf_err *err)
{
	struct pollfd pfd = {.fd = vmm->fd, .events = POLLRDHUP};

	if (poll(&pfd, 1, 0) != 0)
		return pf_err_set(err, PF_ERR_UNREACHABLE, "the VMM closed its connection");
	vmm->peeked = true;
	return pf_err_set(err, PF_ERR_PROTOCOL, "the VMM sent an empty message");
}

/* 0: go on; 1: nothing waits; -1: the client is of no more use. */
static int read_message(struct pf_vmm *vmm, struct pf_err *err)
{
	int fds[PF_UNIX_FDS_MAX], failed;
	size_t fd_count = 0;
	ssize_t length;

	length = pf_unix_recv(vmm->fd, vmm->buffer, sizeof(vmm->buffer), MSG_DONTWAIT | MSG_PEEK, fds,
			      &fd_count, err);
	if (length < 0 && errno == EAGAIN)
		return 1;
	vmm->peeked = length != 0; /* also what is too long */
	if (length < 0)
		return -1;
	if (length == 0)
		failed = take_nothing(vmm, err);
	else
		failed = pf_vmm_msg_unpack(vmm->buffer, (size_t)length, false, fd_count,
					   &vmm->message, err) ||
			 take_message(vmm, fds, err);
	for (size_t i = 0; i < fd_count; i++)
		pf_close_fd(&fds[i]);
	return failed ? -1 : 0;
}

static int on_readable(sd_event_source *source, int fd, uint32_t events, void *opaque)
{
	struct pf_vmm *vmm = opaque;
	struct pf_err err;
	int result;

	(void)source, (void)fd, (void)events;
	result = read_message(vmm, &err);
	if (result >= 0 || vmm->fd < 0)
		return 0;
	lose_client(vmm, &err);
	return 0;
}

/* That he has gone is more, too. */
static bool has_more(const struct pf_vmm *vmm)
{
	struct pollfd pfd = {.fd = vmm->fd, .events = POLLIN};

	return poll(&pfd, 1, 0) > 0;
}

static int on_connect(sd_event_source *source, int listen_fd, uint32_t events, void *opaque)
{
	struct pf_vmm *vmm = opaque;
	pf_auto_fd int fd = -1;
	struct pf_err err;
	pid_t pid;

	(void)source, (void)events;
	/* He may have gone before this one came: heard to his end first, and the next one finds the place free. */
	if (vmm->said_hello && has_more(vmm))
		return 0;
	fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	/* One VMM at a time; a second one, or somebody else's, sees its connection close.  Who has
	 * not said HELLO holds no place. */
	if (fd < 0 || vmm->said_hello || pf_unix_check_peer(fd, &pid, &err))
		return 0;
	close_client(vmm);
	vmm->fd = pf_steal_fd(&fd);
	if (sd_event_add_io(vmm->loop, &vmm->source, vmm->fd, EPOLLIN, on_readable, vmm) < 0)
		close_client(vmm);
	return 0;
}

int pf_vmm_open(sd_event *loop, int listen_fd, const char *path, enum pf_side side,
		const struct pf_vmm_callbacks *callbacks, void *engine, struct pf_kept *kept,
		struct pf_statedir *dir, struct pf_vmm **out, struct pf_err *err)
{
	struct pf_vmm *vmm = calloc(1, sizeof(*vmm));
	int r;

	if (!vmm) {
		pf_close_fd(&listen_fd);
		return pf_err_set(err, PF_ERR_SYSTEM, "out of memory");
	}
	vmm->loop = loop;
	vmm->side = side;
	vmm->callbacks = callbacks;
	vmm->engine = engine;
	vmm->kept = kept;
	vmm->dir = dir;
	vmm->fd = -1;
	vmm->listen_fd = listen_fd;
	memcpy(vmm->path, path, strnlen(path, sizeof(vmm->path) - 1));
	r = sd_event_add_io(loop, &vmm->listen_source, vmm->listen_fd, EPOLLIN, on_connect, vmm);
	if (r < 0) {
		errno = -r;
		pf_err_sys(err, "watching %s", path);
		pf_vmm_close(vmm, false);
		return -1;
	}
	*out = vmm;
	return 0;
}

int pf_vmm_adopt(struct pf_vmm *vmm, int fd, struct pf_err *err)
{
	bool failed;
	int r;

	vmm->fd = fd;
	vmm->said_hello = true;
	do
		failed = getrandom(&vmm->asked, sizeof(vmm->asked), 0) != sizeof(vmm->asked);
	while (failed && errno == EINTR);
	vmm->asked |= 1; /* 0 is none */
	if (failed)
		return pf_err_sys(err, "drawing a number");
	r = pf_vmm_recall_hello(vmm->dir, &vmm->hello, err);
	if (r < 0)
		return -1;
	r = sd_event_add_io(vmm->loop, &vmm->source, vmm->fd, EPOLLIN, on_readable, vmm);
	if (r < 0) {
		errno = -r;
		return pf_err_sys(err, "watching the VMM's connection");
	}
	vmm->message.attach = vmm->asked;
	(void)pf_vmm_say(vmm, PF_VMM_ATTACH);
	return 0;
}

void pf_vmm_drop(struct pf_vmm *vmm)
{
	close_client(vmm);
}

/* Not close_client(): the connection is the keeper's, and ends with it. */
void pf_vmm_close(struct pf_vmm *vmm, bool leave)
{
	if (!vmm)
		return;
	vmm->sent = NULL;
	sd_event_source_disable_unref(vmm->again);
	pf_vmm_outbox_clear(&vmm->outbox);
	sd_event_source_disable_unref(vmm->source);
	sd_event_source_disable_unref(vmm->listen_source);
	pf_close_fd(&vmm->fd);
	pf_close_fd(&vmm->listen_fd);
	if (!leave)
		(void)unlink(vmm->path);
	free(vmm);
}

bool pf_vmm_say(struct pf_vmm *vmm, enum pf_vmm_type type)
{
	bool sent;

	vmm->message.type = type;
	sent = send_message(vmm, -1);
	if (sent && type == PF_VMM_RESUME)
		vmm->told_resume = true;
	return sent;
}

void pf_vmm_load(struct pf_vmm *vmm, int state_fd, uint64_t size)
{
	vmm->message.type = PF_VMM_LOAD;
	vmm->message.state.fd = 0;
	vmm->message.state.size = size;
	(void)send_message(vmm, state_fd);
}

/* Sealed, it cannot change or shrink while it is read, nor be a file that somebody else serves. */
int pf_vmm_check_state(int fd, uint64_t size, struct pf_err *err)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;

	if (seals < 0 || !(seals & F_SEAL_WRITE) || !(seals & F_SEAL_SHRINK)) {
		pf_err_set(err, PF_ERR_PROTOCOL,
			   "its device state is no memfd sealed against writing and shrinking");
		return pf_err_hint(err, "F_ADD_SEALS before PAUSED: F_SEAL_WRITE, F_SEAL_SHRINK, "
					"F_SEAL_GROW and F_SEAL_SEAL");
	}
	if (fstat(fd, &st) != 0 || (uint64_t)st.st_size < size)
		return pf_err_set(err, PF_ERR_PROTOCOL, "its device state is shorter than it says");
	return 0;
}
