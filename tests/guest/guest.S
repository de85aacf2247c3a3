/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/guest/guest.S - where every vCPU of the guest starts and ends.
 *
 * 32-bit protected mode with flat segments, no paging, interrupts off; the VMM has set %esp to the
 * top of this vCPU's stack and %ebx to its struct pf_walk.
 */
#include "layout.h"

	.section .start, "ax"
	.globl	pf_guest_start
pf_guest_start:
	cld
	movl	%esp, %ebp		/* callee-saved: still the stack's top after the call */
	pushl	%ebx
	call	pf_guest_main

	/*
	 * Asked to finish.  What is left on the stack depends on the compiler and cannot be
	 * replayed, so it is cleared, from here on without a stack.
	 */
	movl	%ebp, %esp
	leal	-PF_GUEST_PAGE(%ebp), %edi
	movl	$(PF_GUEST_PAGE / 4), %ecx
	xorl	%eax, %eax
	rep stosl
	movl	$PF_PORT_DONE, %edx
	outl	%eax, %dx
1:	hlt				/* the VMM never runs it again */
	jmp	1b

	/* The image's last bytes, never executed or read: for the tests to damage. */
	.section .last, "a"
	.ascii	"pageferry guest"
	.section .note.GNU-stack, "", @progbits
