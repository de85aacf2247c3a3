/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vmm/bar.h - what a destination's VMM puts in a lost page's place, so that nobody ever reads zeros there.
 *
 * The agent poisons a lost page in every mapping, but poison is an entry of a page table, and of a shared file's
 * mapping the kernel may take the table away: khugepaged, or madvise(MADV_COLLAPSE) of any process that maps the
 * file, makes a huge page of it, with zeros for what the file lacks, and retract_page_tables() (mm/khugepaged.c)
 * spares no poison.  While traps stand, such a page traps again and is poisoned again.  Behind them it would read
 * zeros.  So before `complete`, lost pages are mapped over: what is mapped there has nothing behind it.
 *
 * Of memfd and tmpfs only.  khugepaged passes hugetlbfs over (VM_NO_KHUGEPAGED), and of guest_memfd it collapses
 * nothing that has a hole (collapse_file(), not shmem), which a lost page is; private memory's poison has to be
 * swapped in before its table could go, which is refused (do_swap_page(), handle_pte_marker()).
 *
 * The thread that has the connection; nothing blocks.
 */
#ifndef PF_VMM_BAR_H
#define PF_VMM_BAR_H

#include "vmm/describe.h"

/* Bitmaps of lost pages, for regions of which the VMM hands over none: the agent is to say which they are. */
struct pf_vmm_bitmaps {
	uint32_t count;
	int fd[PF_REGIONS_MAX]; /* open as long as another agent may have to be told of them */
};

/*
 * Adds a bitmap to each region of a destination's description that needs one and has none, as long as there is room
 * for descriptors: 128 go with a message.  Its pages are there from the beginning: to note a loss takes no memory.
 */
PF_MUST_USE int pf_bar_prepare(struct pf_vmm_bitmaps *bitmaps, struct pf_vmm_description *described,
			       struct pf_err *err);
void pf_bar_done(struct pf_vmm_bitmaps *bitmaps);

/*
 * After COMPLETE, while the userfaultfds are open: bars what the bitmaps say is lost, in every mapping.  -1: not all
 * of it; then the userfaultfds of that region stay open as long as this process lives, so that its lost
 * pages, which the agent leaves trapped, can be waited for but never read.
 */
PF_MUST_USE int pf_bar_lost(const struct pf_vmm_description *described, struct pf_err *err);

/* A file without a byte, which nobody can make longer; -1. */
int pf_bar_open(struct pf_err *err);
/* Puts it in the place of [start, start + bytes), at once; who is blocked there by a trap of uffd gets SIGBUS. */
PF_MUST_USE int pf_bar_pages(int empty, int uffd, uint64_t start, uint64_t bytes, struct pf_err *err);

#endif
