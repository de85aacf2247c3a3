/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * migrate/destination_news.c - what the destination's threads tell main that belongs to no connection.
 *
 * Main thread; most of it becomes an event for the orchestrator, rationed where a peer or a guest can
 * cause it as often as it likes.
 */
#include "migrate/destination_engine.h"

#include <errno.h>

#include "base/clock.h"
#include "core/switchover.h"
#include "migrate/status.h"

void pf_destination_maybe_filled(struct destination *destination)
{
	/* The journal is asked, not the mail: a mail can be older than a restart. */
	if (destination->armed && destination->resumed &&
	    pf_journal_complete(&destination->guest.journal) &&
	    pf_requests_all_mapped(&destination->pager.requests))
		pf_agent_note(&destination->agent, PF_DE_FILLED);
}

/* A source can say so of every page as often as it likes. */
static void tell_lost(struct destination *destination, const struct pf_mail_page *page)
{
	uint64_t untold;
	json_t *data;

	if (!pf_ration_take(&destination->losses, &untold))
		return;
	data = pf_status_page(page);
	json_object_set_new(data, "untold", json_integer((json_int_t)untold));
	pf_agent_emit(&destination->agent, "PAGE_LOST", data);
}

/* Tried again and again while it lasts, told now and then.  What memory would not mend needs somebody. */
static void tell_trouble(struct destination *destination, const struct pf_mail_page *page)
{
	bool memory = pf_place_wants_room((int)page->sys);
	uint64_t now = pf_now_ns();

	if (now < destination->trouble_ns[memory])
		return;
	destination->trouble_ns[memory] = now + PF_NS_PER_S;
	pf_agent_emit(&destination->agent, memory ? "OUT_OF_MEMORY" : "PAGE_STUCK", pf_status_page(page));
}

/*
 * A page that was there before it came holds nobody knows what.  Before the commit that ends the
 * migration: nothing is lost yet.  Afterwards it can only be told.
 */
static void tell_unexpected(struct destination *destination, const struct pf_mail_page *page)
{
	uint64_t now = pf_now_ns();
	struct pf_err err;

	if (!pf_destination_may_run(destination->agent.record)) {
		pf_err_set(&err, PF_ERR_PROTOCOL,
			   "page %llu of region %u was present before it came, and its VMM had not "
			   "declared that",
			   (unsigned long long)page->page, page->region);
		pf_err_hint(&err, "hand over memory that nobody has touched");
		pf_agent_fail(&destination->agent, PF_DE_FAILED, &err);
		return;
	}
	if (now < destination->unexpected_ns)
		return;
	destination->unexpected_ns = now + PF_NS_PER_S;
	pf_agent_emit(&destination->agent, "UNEXPECTED_PAGE",
		      json_pack("{s:i, s:I}", "region", (int)page->region, "page",
				(json_int_t)page->page));
}

/* From a thread that is of no session. */
bool pf_destination_news(struct destination *destination, struct pf_mail *mail)
{
	struct pf_stranger *stranger = mail->data;
	struct pf_err err;

	switch ((enum pf_mail_kind)mail->kind) {
	case PF_MAIL_GREETING:
		pf_session_greeting(destination, mail->data);
		return true;
	case PF_MAIL_STRANGER:
		pf_session_left(destination, stranger);
		return true;
	case PF_MAIL_FILLED:
		pf_destination_maybe_filled(destination);
		return true;
	case PF_MAIL_VMM_GONE:
		pf_err_set(&err, PF_ERR_SYSTEM, "its address space is gone");
		pf_destination_vmm_lost(destination, &err);
		return true;
	case PF_MAIL_TROUBLE:
		tell_trouble(destination, mail->data);
		return true;
	case PF_MAIL_PAGE_LOST:
		tell_lost(destination, mail->data);
		return true;
	case PF_MAIL_UNEXPECTED:
		tell_unexpected(destination, mail->data);
		return true;
	case PF_MAIL_VMM_WRONG:
		pf_vmm_broke(destination->agent.vmm, mail->data);
		return true;
	case PF_MAIL_OUTSIDE:
		pf_agent_emit(&destination->agent, "FAULT_OUTSIDE",
			      json_pack("{s:I}", "address", *(json_int_t *)mail->data));
		return true;
	case PF_MAIL_RESET_FAILED:
		pf_agent_fail(&destination->agent, PF_DE_FAILED, mail->data);
		return true;
	default:
		return false;
	}
}
