/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/kernel/kit.c - see tests/kernel/kit.h. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/kernel/kit.h"

#define WORD_BITS (8 * sizeof(unsigned long))

static int open_uffd(void)
{
	struct uffdio_api api = {.api = UFFD_API};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, UFFDIO_API, &api), 0);
	return fd;
}

static int open_with(void **state, uint64_t flags)
{
	struct kit *kit = calloc(1, sizeof(*kit));

	assert_non_null(kit);
	*state = kit;
	kit->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	assert_true(kit->kvm >= 0);
	kit->vm = ioctl(kit->kvm, KVM_CREATE_VM, 0ul);
	assert_true(kit->vm >= 0);
	kit->gmem = kit_create(kit, SIZE, flags);
	assert_true(kit->gmem >= 0);
	kit->map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, kit->gmem, 0);
	assert_true(kit->map != MAP_FAILED);
	kit->uffd = open_uffd();
	kit->bitmap_fd = memfd_create("userfault", MFD_CLOEXEC);
	assert_int_equal(ftruncate(kit->bitmap_fd, PAGE), 0);
	kit->bitmap = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, kit->bitmap_fd, 0);
	assert_true(kit->bitmap != MAP_FAILED);
	memset(kit->bitmap, 0xff, PAGES / 8);
	return 0;
}

int kit_open(void **state)
{
	return open_with(state, WRITABLE);
}

int kit_open_unwritable(void **state)
{
	return open_with(state, WRITABLE & ~PF_GUEST_MEMFD_WRITE);
}

int kit_close(void **state)
{
	struct kit *kit = *state;

	munmap(kit->bitmap, PAGE);
	munmap(kit->map, SIZE);
	close(kit->bitmap_fd);
	close(kit->uffd);
	close(kit->gmem);
	close(kit->vm);
	close(kit->kvm);
	free(kit);
	return 0;
}

int kit_create(const struct kit *kit, uint64_t size, uint64_t flags)
{
	struct pf_kvm_guest_memfd create = {.size = size, .flags = flags};

	return ioctl(kit->vm, PF_KVM_CREATE_GUEST_MEMFD, &create);
}

int kit_register(const struct kit *kit, uint64_t modes)
{
	struct uffdio_register range = {
		.range = {.start = (uintptr_t)kit->map, .len = SIZE}, .mode = modes};

	return ioctl(kit->uffd, UFFDIO_REGISTER, &range) ? errno : 0;
}

ssize_t kit_write(const struct kit *kit, uint64_t first, uint32_t count)
{
	static uint8_t bytes[SIZE];
	ssize_t written;

	page_fill(bytes, first, count);
	written = pwrite(kit->gmem, bytes, count * (size_t)PAGE, (off_t)(first * PAGE));
	return written < 0 ? -errno : written;
}

int kit_continue(const struct kit *kit, uint64_t first, uint64_t count, int64_t *mapped)
{
	struct uffdio_continue range = {
		.range = {.start = (uintptr_t)kit->map + first * PAGE, .len = count * PAGE}};
	int failed = ioctl(kit->uffd, UFFDIO_CONTINUE, &range) ? errno : 0;

	*mapped = range.mapped;
	return failed;
}

bool kit_fault(const struct kit *kit, uint64_t page)
{
	struct uffd_msg event;

	wait_readable(kit->uffd);
	assert_int_equal(read(kit->uffd, &event, sizeof(event)), sizeof(event));
	assert_int_equal(event.event, UFFD_EVENT_PAGEFAULT);
	assert_int_equal((event.arg.pagefault.address - (uintptr_t)kit->map) / PAGE, page);
	return event.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_MINOR;
}

void kit_resolve(const struct kit *kit, uint64_t page)
{
	int64_t mapped;

	assert_int_equal(kit_write(kit, page, 1), PAGE);
	assert_int_equal(kit_continue(kit, page, 1, &mapped), 0);
}

bool kit_is_silent(const struct kit *kit)
{
	struct uffd_msg event;

	return read(kit->uffd, &event, sizeof(event)) < 0 && errno == EAGAIN;
}

static void *call_function(void *argument)
{
	struct touch *touch = argument;

	touch->value = touch->function(touch->argument);
	return NULL;
}

void touch_start(struct touch *touch, uint64_t (*function)(void *), void *argument)
{
	touch->function = function;
	touch->argument = argument;
	assert_int_equal(pthread_create(&touch->thread, NULL, call_function, touch), 0);
}

static uint64_t read_word(void *at)
{
	return *(volatile uint64_t *)at;
}

void touch_read(struct touch *touch, const uint8_t *at)
{
	touch_start(touch, read_word, (void *)(uintptr_t)at);
}

uint64_t touch_end(struct touch *touch)
{
	struct timespec deadline;

	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += DEADLINE_MS / 1000;
	assert_int_equal(pthread_timedjoin_np(touch->thread, NULL, &deadline), 0);
	return touch->value;
}

struct pf_kvm_memory_region2 kit_slot(const struct kit *kit, uint32_t flags)
{
	return (struct pf_kvm_memory_region2){
		.slot = 0,
		.flags = PF_KVM_MEM_GUEST_MEMFD | flags,
		.guest_phys_addr = 0,
		.memory_size = SIZE,
		.userspace_addr = (uintptr_t)kit->map,
		.guest_memfd = (uint32_t)kit->gmem,
		.userfault_bitmap = flags ? (uintptr_t)kit->bitmap : 0,
	};
}

int kit_set_slot(const struct kit *kit, const struct pf_kvm_memory_region2 *slot)
{
	return ioctl(kit->vm, PF_KVM_SET_USER_MEMORY_REGION2, slot) ? errno : 0;
}

/* 16-bit code; [0] is in a data segment, and `out` and the string instructions use port 0x10. */
static const struct {
	uint8_t code[10];
} programs[] = {
	[LOAD] = {{0xa0, 0x00, 0x00, 0xf4}},
	[STORE] = {{0xc6, 0x06, 0x00, 0x00, 0x5a, 0xf4}},
	[INPUT] = {{0xba, 0x10, 0x00, 0xbf, 0x00, 0x00, 0x6c, 0xf4}},
	[OUTPUT] = {{0xba, 0x10, 0x00, 0xbe, 0x00, 0x00, 0x6e, 0xf4}},
	[FOREVER] = {{0xa0, 0x00, 0x00, 0xe6, 0x10, 0xeb, 0xf9}},
};

void vcpu_open(struct vcpu *vcpu, const struct kit *kit, enum program program, uint64_t page)
{
	uint8_t code[PAGE] = {0};
	int size = ioctl(kit->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);

	memcpy(code, programs[program].code, sizeof(programs[program].code));
	memcpy(kit->map, code, sizeof(code));
	bit_clear(kit, 0);
	vcpu->kit = kit;
	vcpu->fd = ioctl(kit->vm, KVM_CREATE_VCPU, 0ul);
	assert_true(vcpu->fd >= 0 && size > 0);
	vcpu->size = (size_t)size;
	vcpu->run = mmap(NULL, vcpu->size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	assert_true(vcpu->run != MAP_FAILED);
	vcpu_restart(vcpu, page);
}

void vcpu_close(struct vcpu *vcpu)
{
	munmap(vcpu->run, vcpu->size);
	close(vcpu->fd);
}

void vcpu_restart(struct vcpu *vcpu, uint64_t page)
{
	struct kvm_regs regs = {.rip = 0, .rflags = 2};
	struct kvm_sregs sregs;

	assert_int_equal(ioctl(vcpu->fd, KVM_GET_SREGS, &sregs), 0);
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	sregs.ds.base = page * PAGE;
	sregs.es.base = page * PAGE;
	assert_int_equal(ioctl(vcpu->fd, KVM_SET_SREGS, &sregs), 0);
	assert_int_equal(ioctl(vcpu->fd, KVM_SET_REGS, &regs), 0);
}

int vcpu_run(struct vcpu *vcpu)
{
	return ioctl(vcpu->fd, KVM_RUN, 0ul) ? -errno : (int)vcpu->run->exit_reason;
}

uint8_t vcpu_al(const struct vcpu *vcpu)
{
	struct kvm_regs regs;

	assert_int_equal(ioctl(vcpu->fd, KVM_GET_REGS, &regs), 0);
	return (uint8_t)regs.rax;
}

void vcpu_faults(struct vcpu *vcpu, uint64_t page)
{
	const struct pf_kvm_memory_fault *fault = pf_kvm_memory_fault(vcpu->run);

	assert_int_equal(vcpu_run(vcpu), -EFAULT);
	assert_int_equal(vcpu->run->exit_reason, PF_KVM_EXIT_MEMORY_FAULT);
	assert_int_equal(fault->flags, PF_KVM_MEMORY_FAULT_USERFAULT);
	assert_int_equal(fault->gpa, page * PAGE);
	assert_int_equal(fault->size, PAGE);
}

void bit_clear(const struct kit *kit, uint64_t page)
{
	__atomic_and_fetch(&kit->bitmap[page / WORD_BITS], ~(1ul << page % WORD_BITS),
			   __ATOMIC_RELEASE);
}

void bit_set(const struct kit *kit, uint64_t page)
{
	__atomic_or_fetch(&kit->bitmap[page / WORD_BITS], 1ul << page % WORD_BITS,
			  __ATOMIC_RELEASE);
}

bool bit_is_set(const struct kit *kit, uint64_t page)
{
	return __atomic_load_n(&kit->bitmap[page / WORD_BITS], __ATOMIC_ACQUIRE) >>
		       page % WORD_BITS & 1;
}
