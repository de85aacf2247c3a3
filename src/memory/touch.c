/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* memory/touch.c - see memory/touch.h; sigaction(2), sigsetjmp(3). */
#include "memory/touch.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <ucontext.h>

/* What it touches of others' is [start, end) below; the rest of it is ours and must not fail. */
struct touch {
	uint8_t *to;
	const uint8_t *from; /* NULL: zeros */
	size_t length;
	enum { COPY, COMPARE, CLEAR_BITS, SET_BITS } what;
	unsigned long bits; /* of the word at `to` */
	bool *out_same;
};

/* The handler runs in the thread whose touch it was (signal(7), "synchronous"). */
static _Thread_local struct {
	volatile uintptr_t start, end; /* end 0: this thread touches nothing now */
	volatile int sys;
	sigjmp_buf back;
} guard;

static struct sigaction before;

/* A failed page is named by its address and its size, which may begin below what was touched. */
static int is_ours(const siginfo_t *info)
{
	uintptr_t at = (uintptr_t)info->si_addr, size = 1;

	if (info->si_code == BUS_MCEERR_AR || info->si_code == BUS_MCEERR_AO)
		size <<= info->si_addr_lsb;
	return info->si_code > 0 && at < guard.end && at + size > guard.start;
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
	if (is_ours(info)) {
		guard.sys = info->si_code == BUS_ADRERR ? EIO : EHWPOISON;
		/* Here, where it costs nothing, instead of in every sigsetjmp(): the mask as it
		 * was, since a second SIGBUS while it is blocked ends the process. */
		pthread_sigmask(SIG_SETMASK, &((const ucontext_t *)context)->uc_sigmask, NULL);
		siglongjmp(guard.back, 1);
	}
	/* Not a touch of ours: the access, done again, ends where it would have without us. */
	sigaction(number, &before, NULL);
	if (info->si_code <= 0)
		raise(number); /* it was sent, kill(2), and does not come again by itself */
}

void pf_touch_init(void)
{
	struct sigaction action = {.sa_flags = SA_SIGINFO}, now;

	action.sa_sigaction = on_sigbus;
	sigemptyset(&action.sa_mask);
	sigaction(SIGBUS, NULL, &now);
	if (now.sa_flags & SA_SIGINFO && now.sa_sigaction == on_sigbus)
		return; /* it must not become its own predecessor */
	before = now;
	sigaction(SIGBUS, &action, NULL);
}

static void do_touch(const struct touch *touch)
{
	if (touch->what == CLEAR_BITS)
		__atomic_fetch_and((unsigned long *)(void *)touch->to, ~touch->bits,
				   __ATOMIC_RELEASE);
	else if (touch->what == SET_BITS)
		__atomic_fetch_or((unsigned long *)(void *)touch->to, touch->bits,
				  __ATOMIC_RELEASE);
	else if (touch->what == COMPARE)
		*touch->out_same = memcmp(touch->to, touch->from, touch->length) == 0;
	else if (touch->from)
		memcpy(touch->to, touch->from, touch->length);
	else
		memset(touch->to, 0, touch->length);
}

static int run_guarded(const struct touch *touch, const void *foreign)
{
	guard.sys = 0;
	if (sigsetjmp(guard.back, 0) == 0) {
		guard.start = (uintptr_t)foreign;
		guard.end = (uintptr_t)foreign + touch->length;
		atomic_signal_fence(memory_order_seq_cst);
		do_touch(touch);
		atomic_signal_fence(memory_order_seq_cst);
	}
	guard.end = 0;
	if (guard.sys == 0)
		return 0;
	errno = guard.sys;
	return -1;
}

int pf_touch_read(void *out, const void *foreign, size_t length)
{
	return run_guarded(&(struct touch){.to = out, .from = foreign, .length = length}, foreign);
}

int pf_touch_write(void *foreign, const void *bytes, size_t length)
{
	return run_guarded(&(struct touch){.to = foreign, .from = bytes, .length = length}, foreign);
}

int pf_touch_zero(void *foreign, size_t length)
{
	return run_guarded(&(struct touch){.to = foreign, .length = length}, foreign);
}

int pf_touch_compare(const void *foreign, const void *bytes, size_t length, bool *out_same)
{
	const struct touch touch = {.to = (uint8_t *)(uintptr_t)foreign,
				    .from = bytes,
				    .length = length,
				    .what = COMPARE,
				    .out_same = out_same};

	return run_guarded(&touch, foreign);
}

int pf_touch_bits(unsigned long *foreign, unsigned long bits, bool set)
{
	const struct touch touch = {.to = (uint8_t *)foreign,
				    .length = sizeof(*foreign),
				    .what = set ? SET_BITS : CLEAR_BITS,
				    .bits = bits};

	return run_guarded(&touch, foreign);
}
