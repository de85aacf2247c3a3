/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/source_urgent.c - the urgent thread of the source: a request comes, its page goes.
 *
 * Owns the urgent channel.  A requested page is always answered here, even if push has sent it
 * already: its pushed copy may sit behind megabytes.  Requests that come before the guest stands
 * wait, since its memory still changes; so do those that this host has no memory to read now, which the
 * others go before.  Control frames are passed on to main.  Blocks in pread(2)
 * of page cache only.
 */
#include <errno.h>

#include "migrate/source.h"

#define ANSWER_PAGES (PF_URGENT_BODY_MAX / 4096u)

static void add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* In front of those that cannot be read now, of which the first goes behind the others. */
static void queue_request(struct pf_answers *answers, struct pf_request_queue *queue,
			  const struct pf_run *request)
{
	uint32_t behind = queue == &answers->whole ? answers->stuck : 0;
	uint32_t end = queue->head + queue->count++, at = end - behind;

	queue->run[end % PF_REQUESTS_MAX] = queue->run[at % PF_REQUESTS_MAX];
	queue->run[at % PF_REQUESTS_MAX] = *request;
}

static int take_request(struct pf_answers *answers, const struct pf_frame *frame,
			struct pf_err *err)
{
	struct pf_request_queue *queue = pf_parts_needed(answers->service, frame->region)
						 ? &answers->parts
						 : &answers->whole;

	if (answers->whole.count + answers->parts.count == PF_REQUESTS_MAX)
		return pf_err_set(err, PF_ERR_PROTOCOL,
				  "more than %u requests wait for an answer", PF_REQUESTS_MAX);
	pf_gate_request(&answers->service->gate);
	queue_request(answers, queue,
		      &(struct pf_run){.region = frame->region, .first = frame->page, .count = frame->count});
	add(&answers->service->count.requests, 1);
	return 0;
}

static int answers_frame(void *opaque, struct pf_link *link, const struct pf_frame *frame,
			 const uint8_t *body, struct pf_err *err)
{
	if (frame->type == PF_FRAME_REQUEST)
		return take_request(opaque, frame, err);
	return pf_link_pass_on(link, frame, body, err);
}

static void answers_mail(void *opaque, struct pf_link *link, struct pf_mail *mail)
{
	struct pf_answers *answers = opaque;

	(void)link;
	if (mail->kind == PF_MAIL_SERVE)
		answers->serving = true;
}

/* Marks before it reads, so that push does not pick the same page meanwhile. */
static void claim_from_push(struct pf_service *service, const struct pf_run *run)
{
	uint32_t resent = pf_push_resent(&service->push, run);

	for (uint32_t i = 0; i < run->count; i++)
		pf_push_requested(&service->push, run->region, run->first + i);
	if (resent > 0)
		add(&service->count.resent, resent);
}

/* The next pages of a request, as many as a frame holds; the result as of pf_service_put(). */
static int answer_whole(struct pf_answers *answers, struct pf_channel *channel,
			struct pf_run *request, uint8_t *scratch)
{
	struct pf_service *service = answers->service;
	uint32_t asked = request->count < ANSWER_PAGES ? request->count : ANSWER_PAGES;
	struct pf_run run = {.region = request->region, .first = request->first, .count = asked};
	int put;

	claim_from_push(service, &run);
	put = pf_service_put(service, channel, &run, &answers->zeros, scratch);
	request->first += asked - run.count;
	request->count -= asked - run.count;
	return put;
}

static int answer_part(struct pf_answers *answers, struct pf_channel *channel,
		       struct pf_run *request, uint8_t *scratch)
{
	struct pf_service *service = answers->service;

	const struct pf_run page = {.region = request->region, .first = request->first, .count = 1};

	if (answers->offset == 0)
		claim_from_push(service, &page);
	return pf_parts_put(service, channel, request, &answers->offset, &answers->zeros, scratch,
			    PF_URGENT_BODY_MAX);
}

/* The first of `whole` waits behind all the others, until it is tried again. */
static void put_off(struct pf_answers *answers, const struct pf_link *link, int sys)
{
	struct pf_request_queue *queue = &answers->whole;
	struct pf_run request = queue->run[queue->head];

	queue->head = (queue->head + 1) % PF_REQUESTS_MAX;
	queue->run[(queue->head + queue->count - 1) % PF_REQUESTS_MAX] = request;
	if (answers->stuck++ == 0)
		answers->again_ns = pf_now_ns() + PF_READ_AGAIN_NS;
	pf_service_tell_trouble(link, &request, sys, &answers->trouble_ns);
}

/* Requests that can be answered now, as far as is known. */
static uint32_t answerable(struct pf_answers *answers)
{
	if (answers->stuck > 0 && pf_now_ns() >= answers->again_ns)
		answers->stuck = 0;
	return answers->whole.count - answers->stuck + answers->parts.count;
}

/*
 * Small pages go between the parts of a large one: it would keep hundreds of them waiting.  false: the channel
 * is full.
 */
static bool answer_next(struct pf_answers *answers, struct pf_link *link)
{
	struct pf_channel *channel = link->channel;
	bool whole = answers->whole.count > answers->stuck;
	struct pf_request_queue *queue = whole ? &answers->whole : &answers->parts;
	struct pf_run *request = &queue->run[queue->head];
	uint32_t before = request->count;
	uint8_t scratch[PF_URGENT_BODY_MAX];
	int put = whole ? answer_whole(answers, channel, request, scratch)
			: answer_part(answers, channel, request, scratch);

	add(&answers->service->count.answered, before - request->count);
	if (request->count == 0) {
		queue->head = (queue->head + 1) % PF_REQUESTS_MAX;
		queue->count--;
	}
	if (put < 0)
		put_off(answers, link, errno);
	return put && pf_service_put_zeros(answers->service, channel, &answers->zeros);
}

static int answers_produce(void *opaque, struct pf_link *link, struct pf_err *err)
{
	struct pf_answers *answers = opaque;
	struct pf_service *service = answers->service;

	(void)err;
	if (!answers->serving)
		return 0;
	if (answerable(answers) + answers->zeros.count == 0) {
		/* Called when the channel's buffer is empty: the last answer is with the kernel.  Push need
		 * not wait until there is memory for the rest. */
		pf_gate_answered(&service->gate);
		link->wake_ns = answers->stuck > 0 ? answers->again_ns : 0;
		return 0;
	}
	if (!pf_service_put_zeros(service, link->channel, &answers->zeros))
		return 1;
	while (answerable(answers) > 0)
		if (!answer_next(answers, link))
			return 1;
	return 1; /* once more after the flush: a request may have come meanwhile */
}

const struct pf_link_user pf_answers_user = {
	.frame = answers_frame,
	.mail = answers_mail,
	.produce = answers_produce,
};
