/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * core/pulse.h - a sign of life now and then, and what follows from the other side's silence.
 *
 * Of one connection, by the thread that owns it.  The other side is *suspected* when nothing was heard for
 * the link's time-out, and *silent* when nothing was heard for twice that: a suspected connection is good
 * again as soon as it speaks.  Anything that comes counts as a sign, and so does anything that is sent.
 * Time in which this thread did not run itself (stopped, or its core was taken) proves nothing, and does
 * not count.  Pure; time is the caller's.
 */
#ifndef PF_CORE_PULSE_H
#define PF_CORE_PULSE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define PF_PULSE_BEAT_NS UINT64_C(250000000) /* or a third of the time-out, if that is less */

/* What a destination has for patience_ns: the source has its other connections to make, before its thread for the
 * urgent one begins. */
#define PF_PULSE_FIRST_SIGN_NS UINT64_C(5000000000)

enum pf_pulse_news {
	PF_PULSE_NOTHING,
	PF_PULSE_SUSPECT, /* told once */
	PF_PULSE_TRUST,	  /* it was suspected, and has spoken */
	PF_PULSE_SILENT,  /* the connection is of no more use */
};

struct pf_pulse {
	const _Atomic uint64_t *timeout_ns; /* a parameter; NULL or 0: no beats, no judgement */
	uint64_t looked_ns, heard_ns, said_ns;
	uint64_t patience_ns; /* until the first sign; 0: the time-out */
	uint64_t received, sent;
	bool suspected;
};

/* The time-out as it is now; 0: there is none. */
uint64_t pf_pulse_timeout_ns(const _Atomic uint64_t *parameter);
/* From one sign of life to the next. */
uint64_t pf_pulse_beat_ns(uint64_t timeout_ns);
/* The connection stands, and so many bytes have come and gone on it. */
void pf_pulse_begin(struct pf_pulse *pulse, uint64_t now_ns, uint64_t received, uint64_t sent,
		    uint64_t patience_ns);
/* Each time around, behind whatever has come: the connection's bytes so far. */
enum pf_pulse_news pf_pulse_look(struct pf_pulse *pulse, uint64_t now_ns, uint64_t received,
				 uint64_t sent);
/* Something must be sent now. */
bool pf_pulse_due(const struct pf_pulse *pulse, uint64_t now_ns);
/* When to look again at the latest; 0: never. */
uint64_t pf_pulse_wake_ns(const struct pf_pulse *pulse);

#endif
