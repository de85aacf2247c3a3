/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/source_race.c - see migrate/source_race.h.
 *
 * The "race" thread decides by core/race.h and starts a thread for each attempt, which waits in connect
 * and handshake for at most 5 s, or until it is told to leave.  It owns its slot until it says that it is
 * over; what the two share else is under the lock.  Nothing here ends but by main's word, or by a WELCOME
 * that leads to a link.
 */
#include "migrate/source_race.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/term.h"
#include "core/race.h"
#include "core/switchover.h"
#include "migrate/link.h"
#include "migrate/watchdog.h"

struct entrant {
	struct pf_racer *racer;
	uint32_t slot;
	pthread_t thread;
	bool started;
	int leave_fd, go_fd; /* readable: end; say HELLO */
	struct pf_call call;
	uint64_t began_ns;
	struct pf_term term;
	struct pf_channel *channel;
	struct pf_msg_welcome welcome;
	struct pf_err err;
	bool welcomed; /* WELCOME is good; else err says why not */
	bool late;     /* its time was over */
	/* Under the racer's lock: */
	bool connected, ready; /* TCP stands; TLS stands */
	bool over;	       /* it has ended, and what is above is the racer's */
};

struct pf_racer {
	struct pf_race_how how;
	pthread_t thread;
	int cancel_fd; /* readable: main wants it to end */
	int news_fd;   /* readable: an attempt is connected, ready, or over */
	pthread_mutex_t lock;
	struct pf_race race; /* the race thread's */
	struct pf_term term;
	struct entrant entrant[PF_RACE_TRIES];
};

/* ---- an attempt ---- */

/* true: it may say HELLO; false: it must leave. */
static bool wait_turn(struct entrant *entrant, struct pf_err *err)
{
	struct pollfd pfd[2] = {{.fd = entrant->leave_fd, .events = POLLIN},
				{.fd = entrant->go_fd, .events = POLLIN}};
	struct timespec left = pf_left_until(entrant->call.greet.deadline_ns, pf_now_ns());

	(void)ppoll(pfd, 2, &left, NULL);
	if (pfd[1].revents && !pfd[0].revents)
		return true;
	pf_err_set(err, PF_ERR_UNREACHABLE, "another attempt came first");
	return false;
}

/* A destination that does not know the session proves nothing, and says so by epoch 0. */
static int check_welcome(struct entrant *entrant, struct pf_err *err)
{
	const struct pf_race_how *how = &entrant->racer->how;
	const struct pf_msg_welcome *welcome = &entrant->welcome;

	if (!welcome->has_proof)
		return 0;
	if (welcome->epoch < how->epoch)
		return pf_err_set(err, PF_ERR_PROTOCOL, "epoch %u; it had assigned %u before",
				  welcome->epoch, how->epoch);
	return pf_session_check(pf_channel_conn(entrant->channel), how->secret, welcome->epoch, 0,
				PF_DESTINATION, welcome->proof, err);
}

static void say(struct entrant *entrant, bool *word)
{
	struct pf_racer *racer = entrant->racer;

	pthread_mutex_lock(&racer->lock);
	*word = true;
	pthread_mutex_unlock(&racer->lock);
	(void)eventfd_write(racer->news_fd, 1);
}

static int call(struct entrant *entrant, struct pf_err *err)
{
	const struct pf_race_how *how = &entrant->racer->how;
	struct pf_msg_hello hello = {.epoch = how->epoch, .record = how->record};
	int fd = -1;

	if (pf_call_connect(&entrant->call, true, &fd, err))
		return -1;
	say(entrant, &entrant->connected);
	if (pf_call_secure(&entrant->call, true, fd, &entrant->channel, err))
		return -1;
	say(entrant, &entrant->ready);
	if (!wait_turn(entrant, err) ||
	    pf_call_hello(&entrant->call, entrant->channel, &hello, how->secret, err) ||
	    pf_call_welcome(&entrant->call, entrant->channel, &entrant->welcome, err))
		return -1;
	return check_welcome(entrant, err);
}

static void *entrant_thread(void *opaque)
{
	struct entrant *entrant = opaque;
	bool welcomed;

	(void)pthread_setname_np(pthread_self(), "attempt");
	welcomed = call(entrant, &entrant->err) == 0;
	if (!welcomed) {
		pf_channel_free(entrant->channel);
		entrant->channel = NULL;
	}
	pf_term_set(&entrant->term, 0);
	entrant->welcomed = welcomed;
	entrant->late = pf_now_ns() >= entrant->call.greet.deadline_ns;
	say(entrant, &entrant->over);
	return NULL;
}

/* ---- the race ---- */

static void begin_attempt(struct pf_racer *racer, uint32_t slot, uint32_t address, uint64_t now)
{
	struct entrant *entrant = &racer->entrant[slot];
	eventfd_t ignored;

	(void)eventfd_read(entrant->leave_fd, &ignored);
	(void)eventfd_read(entrant->go_fd, &ignored);
	entrant->began_ns = now;
	entrant->connected = entrant->ready = entrant->over = entrant->welcomed = false;
	entrant->channel = NULL;
	memset(&entrant->err, 0, sizeof(entrant->err));
	entrant->call = (struct pf_call){
		.options = racer->how.options,
		.endpoint = &racer->how.connect[address],
		.greet = {.deadline_ns = now + PF_RACE_LIFE_NS, .cancel_fd = entrant->leave_fd},
	};
	pf_term_set(&entrant->term, entrant->call.greet.deadline_ns + PF_TERM_GRACE_NS);
	entrant->started =
		pthread_create(&entrant->thread, NULL, entrant_thread, entrant) == 0;
	if (entrant->started)
		return;
	pf_term_set(&entrant->term, 0);
	/* Out of threads: a little later there may be one. */
	pf_race_over(&racer->race, slot, PF_RACE_REFUSED, now);
}

static void join(struct entrant *entrant)
{
	if (entrant->started)
		pthread_join(entrant->thread, NULL);
	entrant->started = false;
}

/* Everybody is told before the first is waited for. */
static void end_attempts(struct pf_racer *racer)
{
	for (uint32_t i = 0; i < PF_RACE_TRIES; i++)
		(void)eventfd_write(racer->entrant[i].leave_fd, 1);
	for (uint32_t i = 0; i < PF_RACE_TRIES; i++) {
		join(&racer->entrant[i]);
		pf_channel_free(racer->entrant[i].channel);
		racer->entrant[i].channel = NULL;
	}
}

static void tell_tried(const struct pf_racer *racer, const struct entrant *entrant)
{
	struct pf_tried tried = {.why = entrant->err};

	pf_endpoint_print(entrant->call.endpoint, tried.address);
	(void)pf_mail_post(racer->how.inbox, racer->how.number, PF_MAIL_TRIED, 0, &tried,
			   sizeof(tried));
}

static bool leads_to_link(const struct pf_racer *racer, const struct entrant *entrant)
{
	return entrant->welcome.has_proof &&
	       pf_meeting_links(pf_record_meet(racer->how.record, entrant->welcome.record));
}

/* true: the link stands, and the race is over. */
static bool tell_met(struct pf_racer *racer, struct entrant *entrant)
{
	struct pf_met met = {
		.proven = entrant->welcome.has_proof,
		.welcome = entrant->welcome,
		.began_ns = entrant->began_ns,
	};
	bool links = leads_to_link(racer, entrant);

	pf_endpoint_print(entrant->call.endpoint, met.address);
	if (links) {
		met.channel = pf_steal(&entrant->channel);
		pf_channel_expect(met.channel, met.welcome.epoch, NULL, 0);
	}
	pf_channel_free(pf_steal(&entrant->channel));
	if (!pf_mail_post(racer->how.inbox, racer->how.number, PF_MAIL_MET, 0, &met, sizeof(met))) {
		pf_channel_free(met.channel);
		return false;
	}
	return links;
}

static void tell_to_leave(struct pf_racer *racer, uint32_t slots)
{
	for (uint32_t i = 0; i < PF_RACE_TRIES; i++)
		if (slots & (1u << i))
			(void)eventfd_write(racer->entrant[i].leave_fd, 1);
}

static enum pf_race_end end_of(const struct entrant *entrant)
{
	if (entrant->welcomed || entrant->err.class != PF_ERR_UNREACHABLE)
		return PF_RACE_REFUSED;
	return entrant->late ? PF_RACE_LATE : PF_RACE_BROKE;
}

/* It is over; true: its WELCOME leads to a link. */
static bool take_end(struct pf_racer *racer, uint32_t slot, uint64_t now)
{
	struct entrant *entrant = &racer->entrant[slot];
	bool won = false;

	join(entrant);
	if (racer->race.attempt[slot].state == PF_RACE_LEAVING &&
	    entrant->err.class == PF_ERR_UNREACHABLE)
		pf_err_set(&entrant->err, PF_ERR_UNREACHABLE,
			   "nobody has answered, or another attempt there has got further");
	if (entrant->welcomed)
		won = tell_met(racer, entrant);
	else
		tell_tried(racer, entrant);
	pf_race_over(&racer->race, slot, end_of(entrant), now);
	return won;
}

struct news {
	uint32_t connected, ready, over; /* a bit for each slot */
};

static struct news listen_to_all(struct pf_racer *racer)
{
	struct news news = {0};

	pthread_mutex_lock(&racer->lock);
	for (uint32_t i = 0; i < PF_RACE_TRIES; i++) {
		const struct entrant *entrant = &racer->entrant[i];
		uint32_t bit = entrant->started ? 1u << i : 0;

		news.over |= entrant->over ? bit : 0;
		news.ready |= entrant->ready && !entrant->over ? bit : 0;
		news.connected |= entrant->connected && !entrant->over ? bit : 0;
	}
	pthread_mutex_unlock(&racer->lock);
	return news;
}

static void take_connected(struct pf_racer *racer, uint32_t slots, uint64_t now)
{
	for (uint32_t i = 0; i < PF_RACE_TRIES; i++)
		if (slots & (1u << i))
			tell_to_leave(racer, pf_race_connected(&racer->race, i, now));
}

/*
 * What the attempts have to say; the slot of one whose WELCOME leads to a link, or -1.  Whoever has got furthest comes
 * first: of those that have TCP at one look the others must leave, and who has ended is nobody to leave for.
 */
static int take_news(struct pf_racer *racer, uint64_t now)
{
	struct news news = listen_to_all(racer);

	for (uint32_t i = 0; i < PF_RACE_TRIES; i++)
		if ((news.over & (1u << i)) && take_end(racer, i, now))
			return (int)i;
	take_connected(racer, news.ready, now);
	for (uint32_t i = 0; i < PF_RACE_TRIES; i++)
		if (news.ready & (1u << i))
			pf_race_ready(&racer->race, i);
	take_connected(racer, news.connected, now);
	return -1;
}

static void make_progress(struct pf_racer *racer, uint64_t now)
{
	uint32_t slot, address;

	while (pf_race_start(&racer->race, now, &slot, &address))
		begin_attempt(racer, slot, address, now);
	if (pf_race_evict(&racer->race, now, &slot))
		tell_to_leave(racer, 1u << slot);
	if (pf_race_speaker(&racer->race, now, &slot))
		(void)eventfd_write(racer->entrant[slot].go_fd, 1);
}

/* The slot of the attempt that won; -1: cancelled. */
static int run_race(struct pf_racer *racer)
{
	pf_race_begin(&racer->race, racer->how.connects, racer->how.eager,
		      pf_now_ns() + racer->how.after_ns);
	for (;;) {
		struct pollfd pfd[2] = {{.fd = racer->cancel_fd, .events = POLLIN},
					{.fd = racer->news_fd, .events = POLLIN}};
		uint64_t now = pf_now_ns();
		int winner = take_news(racer, now);
		struct timespec left;
		eventfd_t ignored;

		if (winner >= 0)
			return winner;
		make_progress(racer, now);
		left = pf_left_until(pf_race_wake_ns(&racer->race, now), pf_now_ns());
		pf_term_set(&racer->term, 0);
		(void)ppoll(pfd, 2, &left, NULL);
		pf_term_set(&racer->term, pf_now_ns() + PF_TERM_GRACE_NS);
		if (pfd[0].revents)
			return -1;
		if (pfd[1].revents)
			(void)eventfd_read(racer->news_fd, &ignored);
	}
}

/* ---- the bulk connections ---- */

static int call_bulk(struct pf_racer *racer, const struct pf_call *how, uint32_t number,
		     uint32_t epoch, struct pf_channel **out, struct pf_err *err)
{
	struct pf_msg_hello hello = {
		.channel = number, .epoch = epoch, .record = racer->how.record};
	struct pf_msg_welcome welcome;

	if (pf_call_open(how, false, out, err) ||
	    pf_call_hello(how, *out, &hello, racer->how.secret, err) ||
	    pf_call_welcome(how, *out, &welcome, err))
		return -1;
	if (welcome.epoch != epoch)
		return pf_err_set(err, PF_ERR_PROTOCOL, "epoch %u on bulk %u, %u on urgent",
				  welcome.epoch, number, epoch);
	pf_channel_expect(*out, epoch, NULL, 0);
	return pf_session_check(pf_channel_conn(*out), racer->how.secret, epoch, number,
				PF_DESTINATION, welcome.proof, err);
}

static void connect_bulk(struct pf_racer *racer, const struct entrant *winner)
{
	struct pf_call how = winner->call;
	struct pf_err err = {0};

	how.greet = (struct pf_greet){.deadline_ns = pf_now_ns() + PF_RACE_LIFE_NS,
				      .cancel_fd = racer->cancel_fd};
	pf_term_set(&racer->term, how.greet.deadline_ns + PF_TERM_GRACE_NS);
	for (uint32_t i = 1; i <= racer->how.options->channels; i++) {
		struct pf_met_bulk bulk = {.number = i};

		if (call_bulk(racer, &how, i, winner->welcome.epoch, &bulk.channel, &err)) {
			pf_channel_free(bulk.channel);
			pf_err_prefix(&err, "bulk connection %u", i);
			(void)pf_mail_post(racer->how.inbox, racer->how.number, PF_MAIL_BULK_LOST,
					   0, &err, sizeof(err));
			return;
		}
		if (!pf_mail_post(racer->how.inbox, racer->how.number, PF_MAIL_BULK, 0, &bulk,
				  sizeof(bulk)))
			pf_channel_free(bulk.channel);
	}
}

static void *racer_thread(void *opaque)
{
	struct pf_racer *racer = opaque;
	int winner;

	(void)pthread_setname_np(pthread_self(), "race");
	winner = run_race(racer);
	/* Each attempt is judged by its own. */
	pf_term_set(&racer->term, 0);
	end_attempts(racer);
	if (winner >= 0)
		connect_bulk(racer, &racer->entrant[winner]);
	pf_term_set(&racer->term, 0);
	return NULL;
}

/* ---- main's ---- */

bool pf_racer_late(const struct pf_racer *racer, uint64_t now_ns)
{
	bool late = racer && pf_term_is_over(&racer->term, now_ns);

	for (uint32_t i = 0; racer && i < PF_RACE_TRIES; i++)
		late = late || pf_term_is_over(&racer->entrant[i].term, now_ns);
	return late;
}

void pf_racer_drop(const struct pf_mail *mail)
{
	if (mail->kind == PF_MAIL_MET)
		pf_channel_free(((struct pf_met *)mail->data)->channel);
	else if (mail->kind == PF_MAIL_BULK)
		pf_channel_free(((struct pf_met_bulk *)mail->data)->channel);
}

static void free_racer(struct pf_racer *racer)
{
	for (uint32_t i = 0; i < PF_RACE_TRIES; i++) {
		pf_close_fd(&racer->entrant[i].leave_fd);
		pf_close_fd(&racer->entrant[i].go_fd);
	}
	pf_close_fd(&racer->cancel_fd);
	pf_close_fd(&racer->news_fd);
	pthread_mutex_destroy(&racer->lock);
	explicit_bzero(racer->how.secret, sizeof(racer->how.secret));
	free(racer);
}

static int make_fd(int *out)
{
	*out = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return *out < 0 ? -1 : 0;
}

static int open_racer(struct pf_racer *racer, struct pf_err *err)
{
	int failed = make_fd(&racer->cancel_fd) | make_fd(&racer->news_fd);

	for (uint32_t i = 0; i < PF_RACE_TRIES; i++) {
		racer->entrant[i].racer = racer;
		racer->entrant[i].slot = i;
		failed |= make_fd(&racer->entrant[i].leave_fd) | make_fd(&racer->entrant[i].go_fd);
	}
	if (failed)
		return pf_err_sys(err, "creating an eventfd");
	errno = pthread_create(&racer->thread, NULL, racer_thread, racer);
	return errno ? pf_err_sys(err, "starting the thread that connects again") : 0;
}

int pf_racer_start(const struct pf_race_how *how, struct pf_racer **out, struct pf_err *err)
{
	struct pf_racer *racer = calloc(1, sizeof(*racer));

	if (!racer)
		return pf_err_set(err, PF_ERR_SYSTEM, "out of memory");
	racer->how = *how;
	pthread_mutex_init(&racer->lock, NULL);
	if (open_racer(racer, err)) {
		free_racer(racer);
		return -1;
	}
	*out = racer;
	return 0;
}

void pf_racer_stop(struct pf_racer *racer)
{
	if (!racer)
		return;
	(void)eventfd_write(racer->cancel_fd, 1);
	pthread_join(racer->thread, NULL);
	free_racer(racer);
}
