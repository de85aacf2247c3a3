/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/destination_accept.c - the threads that listen, shake hands and hear the first HELLO.
 *
 * A stranger costs a slot for at most 5 s and nothing else: each connection is greeted by a short
 * thread of its own, at most 8 at once; the next ones wait in the kernel's queue.  While some do, the
 * one that has been greeted for longest must go after 1 s: a flood of silent connections costs the
 * right source a second for each 8 of them that came before it.  What a HELLO is worth is main's to
 * judge.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fault.h"
#include "base/term.h"
#include "migrate/destination.h"
#include "migrate/greet.h"
#include "net/tcp.h"

#define GREETERS 8u
#define ACCEPT_AGAIN_MS 100
#define GREET_NS (5 * PF_NS_PER_S)
#define PATIENCE_NS PF_NS_PER_S /* with the longest of 8, while others wait */

struct greeter {
	struct pf_acceptor *acceptor;
	pthread_t thread;
	bool started;
	_Atomic bool done;
	_Atomic bool told; /* to make room */
	struct pf_term term;
	uint64_t since_ns;
	int fd;
	int leave_fd; /* readable once the greeter must go: for a newcomer, or since the acceptor stops */
	char address[PF_ENDPOINT_TEXT_MAX];
};

struct pf_acceptor {
	const struct pf_options *options;
	struct pf_mailbox *inbox;
	int listen_fd;
	int cancel_fd;	/* readable once the acceptor stops */
	int settled_fd; /* a greeter is done: its slot can be taken again */
	pthread_t thread;
	bool started;
	struct pf_term term;
	struct greeter greeter[GREETERS];
};

static int hear_hello(struct greeter *greeter, struct pf_greeting *out, struct pf_err *err)
{
	struct pf_acceptor *acceptor = greeter->acceptor;
	struct pf_greet greet = {.deadline_ns = greeter->since_ns + GREET_NS,
				 .cancel_fd = greeter->leave_fd};
	struct pf_handshake how = {
		.tls_dir = acceptor->options->tls_dir,
		.side = PF_DESTINATION,
		.peer_name = acceptor->options->peer_name,
		.deadline_ns = greet.deadline_ns,
		.cancel_fd = greet.cancel_fd,
	};
	struct pf_conn *conn = NULL;
	const uint8_t *body = NULL;
	struct pf_frame frame;

	pf_fault(PF_FAULT_CONNECT);
	/* Which kind of connection it is, HELLO says: main makes an urgent one of it if it is. */
	if (pf_conn_handshake(pf_steal_fd(&greeter->fd), &how, &conn, err) ||
	    pf_channel_new(conn, PF_DESTINATION, false, &out->channel, err))
		return -1;
	pf_fault(PF_FAULT_TLS);
	if (pf_greet_recv(out->channel, &greet, &frame, &body, err))
		return -1;
	if (frame.type != PF_FRAME_HELLO)
		return pf_err_set(err, PF_ERR_PROTOCOL, "%s instead of HELLO",
				  pf_frame_name(frame.type));
	return pf_msg_unpack_hello(body, frame.length, &out->hello, err);
}

/* It failed because it was cancelled, or would have next. */
static void make_room(struct pf_err *err)
{
	pf_err_set(err, PF_ERR_UNREACHABLE, "no HELLO after %d s, and other connections waited",
		   (int)(PATIENCE_NS / PF_NS_PER_S));
	pf_err_hint(err, "more than %u connections at once did not finish their handshakes: who else "
			 "connects to this port?", GREETERS);
}

static void *greeter_thread(void *opaque)
{
	struct greeter *greeter = opaque;
	struct pf_acceptor *acceptor = greeter->acceptor;
	struct pf_greeting greeting = {0};
	struct pf_stranger stranger = {0};

	(void)pthread_setname_np(pthread_self(), "greet");
	memcpy(greeting.address, greeter->address, sizeof(greeting.address));
	memcpy(stranger.address, greeter->address, sizeof(stranger.address));
	if (hear_hello(greeter, &greeting, &stranger.why)) {
		if (atomic_load(&greeter->told))
			make_room(&stranger.why);
		stranger.known = greeting.channel != NULL;
		pf_channel_free(greeting.channel);
		(void)pf_mail_post(acceptor->inbox, 0, PF_MAIL_STRANGER, 0, &stranger,
				   sizeof(stranger));
	} else if (!pf_mail_post(acceptor->inbox, 0, PF_MAIL_GREETING, 0, &greeting,
				 sizeof(greeting))) {
		pf_channel_free(greeting.channel);
	}
	pf_term_set(&greeter->term, 0);
	atomic_store(&greeter->done, true);
	(void)eventfd_write(acceptor->settled_fd, 1);
	return NULL;
}

static struct greeter *free_greeter(struct pf_acceptor *acceptor)
{
	for (unsigned i = 0; i < GREETERS; i++) {
		struct greeter *greeter = &acceptor->greeter[i];

		if (greeter->started && atomic_load(&greeter->done)) {
			pthread_join(greeter->thread, NULL);
			greeter->started = false;
		}
		if (!greeter->started)
			return greeter;
	}
	return NULL;
}

/* All are busy: the one that has been for longest, of those who were not told to go yet. */
static struct greeter *longest_greeter(struct pf_acceptor *acceptor)
{
	struct greeter *longest = NULL;

	for (unsigned i = 0; i < GREETERS; i++) {
		struct greeter *greeter = &acceptor->greeter[i];

		if (!atomic_load(&greeter->told) && !atomic_load(&greeter->done) &&
		    (!longest || greeter->since_ns < longest->since_ns))
			longest = greeter;
	}
	return longest;
}

static void tell_to_leave(struct greeter *greeter)
{
	atomic_store(&greeter->told, true);
	(void)eventfd_write(greeter->leave_fd, 1);
}

/* Out of descriptors, say: the connection stays in the kernel's queue, and poll would not wait. */
static void pause_accepting(const struct pf_acceptor *acceptor)
{
	struct pollfd pfd = {.fd = acceptor->cancel_fd, .events = POLLIN};

	(void)poll(&pfd, 1, ACCEPT_AGAIN_MS);
}

static void greet_one(struct pf_acceptor *acceptor, struct greeter *greeter)
{
	struct sockaddr_storage peer;
	eventfd_t ignored;
	int fd = -1;

	if (pf_tcp_accept(acceptor->listen_fd, &fd, &peer)) {
		if (errno != EAGAIN)
			pause_accepting(acceptor);
		return;
	}
	pf_tcp_tune(fd, false);
	greeter->acceptor = acceptor;
	greeter->fd = fd;
	greeter->since_ns = pf_now_ns();
	(void)eventfd_read(greeter->leave_fd, &ignored); /* told when it was done already */
	atomic_store(&greeter->told, false);
	atomic_store(&greeter->done, false);
	pf_sockaddr_print(&peer, greeter->address);
	pf_term_set(&greeter->term, greeter->since_ns + GREET_NS + PF_TERM_GRACE_NS);
	if (pthread_create(&greeter->thread, NULL, greeter_thread, greeter)) {
		pf_term_set(&greeter->term, 0);
		pf_close_fd(&greeter->fd);
		return;
	}
	greeter->started = true;
}

/* Milliseconds for which a greeter that does not get on is borne with while others wait. */
static int patience_left(const struct greeter *greeter)
{
	uint64_t now = pf_now_ns(), end = greeter->since_ns + PATIENCE_NS;

	return now >= end ? 0 : (int)((end - now) / PF_NS_PER_MS) + 1;
}

static void *acceptor_thread(void *opaque)
{
	struct pf_acceptor *acceptor = opaque;

	(void)pthread_setname_np(pthread_self(), "accept");
	for (;;) {
		struct greeter *greeter = free_greeter(acceptor);
		struct greeter *longest = greeter ? NULL : longest_greeter(acceptor);
		int patience_ms = longest ? patience_left(longest) : 0;
		bool look = greeter || (longest && patience_ms == 0);
		struct pollfd pfd[3] = {
			{.fd = acceptor->cancel_fd, .events = POLLIN},
			{.fd = acceptor->settled_fd, .events = POLLIN},
			{.fd = look ? acceptor->listen_fd : -1, .events = POLLIN},
		};
		eventfd_t ignored;

		pf_term_set(&acceptor->term, 0);
		(void)poll(pfd, 3, patience_ms > 0 ? patience_ms : -1);
		pf_term_set(&acceptor->term, pf_now_ns() + PF_TERM_GRACE_NS);
		if (pfd[0].revents)
			return NULL; /* main waits for it, and feeds nobody meanwhile */
		if (pfd[1].revents)
			(void)eventfd_read(acceptor->settled_fd, &ignored);
		if (pfd[2].revents && greeter)
			greet_one(acceptor, greeter);
		else if (pfd[2].revents)
			tell_to_leave(longest);
	}
}

static int open_fds(struct pf_acceptor *acceptor, struct sockaddr_storage *out_bound,
		    struct pf_err *err)
{
	socklen_t length = sizeof(*out_bound);

	acceptor->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	acceptor->settled_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (acceptor->cancel_fd < 0 || acceptor->settled_fd < 0)
		return pf_err_sys(err, "creating an eventfd");
	for (unsigned i = 0; i < GREETERS; i++) {
		acceptor->greeter[i].leave_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (acceptor->greeter[i].leave_fd < 0)
			return pf_err_sys(err, "creating an eventfd");
	}
	if (acceptor->listen_fd < 0)
		return pf_tcp_listen(&acceptor->options->listen, &acceptor->listen_fd, out_bound,
				     err);
	if (getsockname(acceptor->listen_fd, (struct sockaddr *)out_bound, &length) != 0)
		return pf_err_sys(err, "asking where it listens");
	return 0;
}

/* Who was greeted, and not judged before the agent ended. */
static void drop_greeting(const struct pf_mail *mail)
{
	if (mail->kind == PF_MAIL_GREETING)
		pf_channel_free(((struct pf_greeting *)mail->data)->channel);
}

int pf_acceptor_open(const struct pf_options *options, int listen_fd, struct pf_mailbox *inbox,
		     struct pf_acceptor **out, struct sockaddr_storage *out_bound,
		     struct pf_err *err)
{
	struct pf_acceptor *acceptor = calloc(1, sizeof(*acceptor));

	if (!acceptor) {
		pf_close_fd(&listen_fd);
		return pf_err_set(err, PF_ERR_SYSTEM, "out of memory");
	}
	acceptor->options = options;
	acceptor->inbox = inbox;
	inbox->drop = drop_greeting;
	acceptor->listen_fd = listen_fd;
	acceptor->cancel_fd = acceptor->settled_fd = -1;
	for (unsigned i = 0; i < GREETERS; i++)
		acceptor->greeter[i].leave_fd = -1;
	if (open_fds(acceptor, out_bound, err)) {
		pf_acceptor_stop(acceptor);
		return -1;
	}
	*out = acceptor;
	return 0;
}

bool pf_acceptor_late(const struct pf_acceptor *acceptor, uint64_t now_ns)
{
	bool late = pf_term_is_over(&acceptor->term, now_ns);

	for (unsigned i = 0; i < GREETERS; i++)
		late = late || pf_term_is_over(&acceptor->greeter[i].term, now_ns);
	return late;
}

int pf_acceptor_fd(const struct pf_acceptor *acceptor)
{
	return acceptor->listen_fd;
}

int pf_acceptor_start(struct pf_acceptor *acceptor, struct pf_err *err)
{
	errno = pthread_create(&acceptor->thread, NULL, acceptor_thread, acceptor);
	if (errno)
		return pf_err_sys(err, "starting the accepting thread");
	acceptor->started = true;
	return 0;
}

void pf_acceptor_stop(struct pf_acceptor *acceptor)
{
	if (!acceptor)
		return;
	if (acceptor->started) {
		(void)eventfd_write(acceptor->cancel_fd, 1);
		pthread_join(acceptor->thread, NULL);
	}
	for (unsigned i = 0; i < GREETERS; i++) {
		struct greeter *greeter = &acceptor->greeter[i];

		if (greeter->started) {
			(void)eventfd_write(greeter->leave_fd, 1);
			pthread_join(greeter->thread, NULL);
		}
		pf_close_fd(&greeter->leave_fd);
	}
	pf_close_fd(&acceptor->listen_fd);
	pf_close_fd(&acceptor->cancel_fd);
	pf_close_fd(&acceptor->settled_fd);
	free(acceptor);
}
