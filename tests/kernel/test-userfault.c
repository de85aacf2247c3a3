/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tests/kernel/test-userfault.c - KVM userfault in the test kernel: a vCPU's accesses, bit by bit.
 *
 * The guest is ten bytes of code in real mode.  What it does in a page whose bit is set must leave
 * KVM_RUN; what KVM does in its stead must trap in userfaultfd; and both must go on afterwards.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/kernel/kit.h"

/* The page that the guest's data is in. */
#define DATA 5u

/* A vCPU at its program's start, memory in its slot, everything absent but the code. */
static void start(struct vcpu *vcpu, const struct kit *kit, enum program program)
{
	struct pf_kvm_memory_region2 slot = kit_slot(kit, PF_KVM_MEM_USERFAULT);

	assert_int_equal(kit_set_slot(kit, &slot), 0);
	vcpu_open(vcpu, kit, program, DATA);
	assert_int_equal(kit_register(kit, BOTH), 0);
}

static void toggle(const struct kit *kit, uint32_t flags)
{
	struct pf_kvm_memory_region2 slot = kit_slot(kit, flags);

	assert_int_equal(kit_set_slot(kit, &slot), 0);
}

static uint8_t low_byte(uint64_t page)
{
	return (uint8_t)page_word(page);
}

static void kvm_says_that_it_can(void **state)
{
	const struct kit *kit = *state;

	assert_int_equal(ioctl(kit->kvm, KVM_CHECK_EXTENSION, PF_KVM_CAP_USERFAULT), 1);
	assert_int_equal(ioctl(kit->vm, KVM_CHECK_EXTENSION, PF_KVM_CAP_USERFAULT), 1);
	assert_int_equal(ioctl(kit->kvm, KVM_CHECK_EXTENSION, PF_KVM_CAP_GUEST_MEMFD_FLAGS), WRITABLE);
}

static void a_vcpu_leaves_until_the_page_is_there_and_its_bit_clear(void **state)
{
	const struct kit *kit = *state;
	struct vcpu vcpu;

	start(&vcpu, kit, LOAD);
	vcpu_faults(&vcpu, DATA);
	vcpu_faults(&vcpu, DATA);
	assert_false(file_has_page(kit->gmem, DATA));
	assert_int_equal(kit_write(kit, DATA, 1), PAGE);
	/* Populated, and its bit still set. */
	vcpu_faults(&vcpu, DATA);
	bit_clear(kit, DATA);
	assert_int_equal(vcpu_run(&vcpu), KVM_EXIT_HLT);
	assert_int_equal(vcpu_al(&vcpu), low_byte(DATA));
	assert_true(kit_is_silent(kit));
	vcpu_close(&vcpu);
}

static void a_write_leaves_like_a_read(void **state)
{
	const struct kit *kit = *state;
	struct vcpu vcpu;
	int64_t mapped;

	start(&vcpu, kit, STORE);
	vcpu_faults(&vcpu, DATA);
	assert_int_equal(kit_write(kit, DATA, 1), PAGE);
	bit_clear(kit, DATA);
	assert_int_equal(vcpu_run(&vcpu), KVM_EXIT_HLT);
	assert_int_equal(kit_continue(kit, DATA, 1, &mapped), 0);
	assert_int_equal(kit->map[DATA * PAGE], 0x5a);
	assert_int_equal(kit->map[DATA * PAGE + 8], low_byte(DATA));
	vcpu_close(&vcpu);
}

static void a_fetch_of_code_leaves_too(void **state)
{
	const struct kit *kit = *state;
	struct vcpu vcpu;

	start(&vcpu, kit, LOAD);
	bit_set(kit, 0);
	vcpu_faults(&vcpu, 0);
	bit_clear(kit, 0);
	vcpu_faults(&vcpu, DATA);
	vcpu_close(&vcpu);
}

static uint64_t run_blocking(void *vcpu)
{
	return (uint64_t)vcpu_run(vcpu);
}

static void what_kvm_writes_for_the_guest_traps_in_userfaultfd(void **state)
{
	const struct kit *kit = *state;
	struct touch touch;
	struct vcpu vcpu;

	start(&vcpu, kit, INPUT);
	assert_int_equal(vcpu_run(&vcpu), KVM_EXIT_IO);
	*((uint8_t *)vcpu.run + vcpu.run->io.data_offset) = 0x77;
	touch_start(&touch, run_blocking, &vcpu);
	assert_false(kit_fault(kit, DATA));
	kit_resolve(kit, DATA);
	assert_int_equal(touch_end(&touch), KVM_EXIT_HLT);
	assert_true(bit_is_set(kit, DATA));
	assert_int_equal(kit->map[DATA * PAGE], 0x77);
	assert_int_equal(kit->map[DATA * PAGE + 8], low_byte(DATA));
	vcpu_close(&vcpu);
}

static void what_kvm_reads_for_the_guest_traps_in_userfaultfd(void **state)
{
	const struct kit *kit = *state;
	struct touch touch;
	struct vcpu vcpu;

	start(&vcpu, kit, OUTPUT);
	touch_start(&touch, run_blocking, &vcpu);
	assert_false(kit_fault(kit, DATA));
	kit_resolve(kit, DATA);
	assert_int_equal(touch_end(&touch), KVM_EXIT_IO);
	assert_int_equal(*((uint8_t *)vcpu.run + vcpu.run->io.data_offset), low_byte(DATA));
	assert_true(bit_is_set(kit, DATA));
	vcpu_close(&vcpu);
}

static void a_bit_is_looked_at_when_a_page_is_mapped_and_not_after(void **state)
{
	const struct kit *kit = *state;
	struct vcpu vcpu;

	start(&vcpu, kit, LOAD);
	assert_int_equal(kit_write(kit, DATA, 1), PAGE);
	bit_clear(kit, DATA);
	assert_int_equal(vcpu_run(&vcpu), KVM_EXIT_HLT);
	bit_set(kit, DATA);
	vcpu_restart(&vcpu, DATA);
	assert_int_equal(vcpu_run(&vcpu), KVM_EXIT_HLT);
	/* Taken off and put on again, the flag takes away what is mapped. */
	toggle(kit, 0);
	toggle(kit, PF_KVM_MEM_USERFAULT);
	vcpu_restart(&vcpu, DATA);
	vcpu_faults(&vcpu, DATA);
	vcpu_close(&vcpu);
}

static void once_the_flag_is_off_no_bit_matters(void **state)
{
	const struct kit *kit = *state;
	struct vcpu vcpu;

	start(&vcpu, kit, LOAD);
	assert_int_equal(kit_write(kit, DATA, 1), PAGE);
	vcpu_faults(&vcpu, DATA);
	toggle(kit, 0);
	assert_int_equal(mprotect(kit->bitmap, PAGE, PROT_NONE), 0);
	assert_int_equal(vcpu_run(&vcpu), KVM_EXIT_HLT);
	assert_int_equal(vcpu_al(&vcpu), low_byte(DATA));
	vcpu_close(&vcpu);
}

static void the_flag_comes_on_for_a_slot_that_was_made_without_it(void **state)
{
	const struct kit *kit = *state;
	struct vcpu vcpu;

	assert_int_equal(kit_write(kit, DATA, 1), PAGE);
	toggle(kit, 0);
	vcpu_open(&vcpu, kit, LOAD, DATA);
	assert_int_equal(vcpu_run(&vcpu), KVM_EXIT_HLT);
	toggle(kit, PF_KVM_MEM_USERFAULT);
	vcpu_restart(&vcpu, DATA);
	vcpu_faults(&vcpu, DATA);
	vcpu_close(&vcpu);
}

static void nothing_but_the_flag_changes_in_a_slot(void **state)
{
	const struct kit *kit = *state;
	const struct pf_kvm_memory_region2 made = kit_slot(kit, PF_KVM_MEM_USERFAULT);
	struct pf_kvm_memory_region2 other[8];
	size_t count = sizeof(other) / sizeof(other[0]);
	int stranger = kit_create(kit, SIZE, WRITABLE);

	assert_int_equal(kit_set_slot(kit, &made), 0);
	assert_int_equal(kit_set_slot(kit, &made), 0);
	for (size_t i = 0; i < count; i++) {
		other[i] = made;
		other[i].flags &= i == 0 ? UINT32_MAX : ~PF_KVM_MEM_USERFAULT;
	}
	other[0].userfault_bitmap += 8; /* while it is in use */
	other[1].memory_size -= PAGE;
	other[2].guest_phys_addr += PAGE;
	other[3].userspace_addr += PAGE;
	other[4].guest_memfd = (uint32_t)stranger;
	other[5].guest_memfd_offset += PAGE;
	other[6].flags = 0;
	other[7].flags |= KVM_MEM_READONLY;
	for (size_t i = 0; i < count; i++)
		assert_int_equal(kit_set_slot(kit, &other[i]), EINVAL);
	toggle(kit, 0);
	close(stranger);
}

/* A slot of ordinary memory with these flags and the kit's bitmap. */
static struct pf_kvm_memory_region2 ordinary_slot(const struct kit *kit, uint32_t flags)
{
	struct pf_kvm_memory_region2 slot = kit_slot(kit, PF_KVM_MEM_USERFAULT);

	slot.flags = flags;
	return slot;
}

static void while_the_flag_is_on_another_bitmap_is_refused(void **state)
{
	const struct kit *kit = *state;
	const struct pf_kvm_memory_region2 made = ordinary_slot(kit, PF_KVM_MEM_USERFAULT);
	struct pf_kvm_memory_region2 other = made, dirty = made;

	assert_int_equal(kit_set_slot(kit, &made), 0);
	other.userfault_bitmap += PAGE / 2;
	assert_int_equal(kit_set_slot(kit, &other), EINVAL);
	other.flags |= KVM_MEM_LOG_DIRTY_PAGES;
	assert_int_equal(kit_set_slot(kit, &other), EINVAL);
	/* What it is set to already, and other flags beside it, are no change of it. */
	assert_int_equal(kit_set_slot(kit, &made), 0);
	dirty.flags |= KVM_MEM_LOG_DIRTY_PAGES;
	assert_int_equal(kit_set_slot(kit, &dirty), 0);
	/* It changes alone, and not with them. */
	dirty.flags = 0;
	assert_int_equal(kit_set_slot(kit, &dirty), EINVAL);
}

static void off_and_on_again_the_flag_brings_another_bitmap(void **state)
{
	const struct kit *kit = *state;
	struct pf_kvm_memory_region2 slot = kit_slot(kit, PF_KVM_MEM_USERFAULT);
	struct vcpu vcpu;

	start(&vcpu, kit, LOAD);
	assert_int_equal(kit_write(kit, DATA, 1), PAGE);
	vcpu_faults(&vcpu, DATA);
	toggle(kit, 0);
	/* Its bits are all clear. */
	slot.userfault_bitmap += PAGE / 2;
	assert_int_equal(kit_set_slot(kit, &slot), 0);
	assert_int_equal(vcpu_run(&vcpu), KVM_EXIT_HLT);
	assert_int_equal(vcpu_al(&vcpu), low_byte(DATA));
	toggle(kit, 0);
	toggle(kit, PF_KVM_MEM_USERFAULT);
	vcpu_restart(&vcpu, DATA);
	vcpu_faults(&vcpu, DATA);
	vcpu_close(&vcpu);
}

static void a_bitmap_lies_where_longs_do_in_user_memory(void **state)
{
	const struct kit *kit = *state;
	struct pf_kvm_memory_region2 slot = kit_slot(kit, PF_KVM_MEM_USERFAULT);

	slot.userfault_bitmap += 4;
	assert_int_equal(kit_set_slot(kit, &slot), EINVAL);
	slot.userfault_bitmap = UINT64_C(1) << 63;
	assert_int_equal(kit_set_slot(kit, &slot), EINVAL);
}

static void a_bitmap_that_cannot_be_read_is_no_missing_page(void **state)
{
	const struct kit *kit = *state;
	struct vcpu vcpu;

	start(&vcpu, kit, LOAD);
	assert_int_equal(mprotect(kit->bitmap, PAGE, PROT_NONE), 0);
	assert_int_equal(vcpu_run(&vcpu), -EFAULT);
	assert_int_equal(vcpu.run->exit_reason, PF_KVM_EXIT_MEMORY_FAULT);
	assert_int_equal(pf_kvm_memory_fault(vcpu.run)->flags, 0);
	vcpu_close(&vcpu);
}

static void an_ordinary_slot_can_have_one_as_well(void **state)
{
	const struct kit *kit = *state;
	struct pf_kvm_memory_region2 slot = kit_slot(kit, PF_KVM_MEM_USERFAULT);
	uint8_t *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct vcpu vcpu;

	assert_true(memory != MAP_FAILED);
	slot.flags = PF_KVM_MEM_USERFAULT;
	slot.userspace_addr = (uintptr_t)memory;
	assert_int_equal(kit_set_slot(kit, &slot), 0);
	vcpu_open(&vcpu, kit, LOAD, DATA);
	memcpy(memory, kit->map, PAGE);
	vcpu_faults(&vcpu, DATA);
	page_fill(memory + DATA * PAGE, DATA, 1);
	bit_clear(kit, DATA);
	assert_int_equal(vcpu_run(&vcpu), KVM_EXIT_HLT);
	assert_int_equal(vcpu_al(&vcpu), low_byte(DATA));
	bit_set(kit, DATA);
	slot.flags = 0;
	assert_int_equal(kit_set_slot(kit, &slot), 0);
	slot.flags = PF_KVM_MEM_USERFAULT;
	assert_int_equal(kit_set_slot(kit, &slot), 0);
	vcpu_restart(&vcpu, DATA);
	vcpu_faults(&vcpu, DATA);
	vcpu_close(&vcpu);
	munmap(memory, SIZE);
}

static void without_the_flag_a_vcpu_reads_zeros_and_nobody_is_told(void **state)
{
	const struct kit *kit = *state;
	struct vcpu vcpu;

	toggle(kit, 0);
	vcpu_open(&vcpu, kit, LOAD, DATA);
	assert_int_equal(kit_register(kit, BOTH), 0);
	assert_int_equal(vcpu_run(&vcpu), KVM_EXIT_HLT);
	assert_int_equal(vcpu_al(&vcpu), 0);
	assert_true(kit_is_silent(kit));
	assert_true(file_has_page(kit->gmem, DATA));
	vcpu_close(&vcpu);
}

/* A thread that takes the flag off. */
struct taking_off {
	const struct kit *kit;
	struct pf_kvm_memory_region2 slot;
	atomic_int tid;
	atomic_bool done;
};

static uint64_t take_off(void *argument)
{
	struct taking_off *taking = argument;
	int failed;

	atomic_store(&taking->tid, gettid());
	failed = kit_set_slot(taking->kit, &taking->slot);
	atomic_store(&taking->done, true);
	return (uint64_t)failed;
}

/* Does the thread stand in the ioctl?  proc_pid_syscall(5): "running", or the call's number. */
static bool stands_in_ioctl(const struct taking_off *taking)
{
	char path[64], said[16] = "";
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", atomic_load(&taking->tid));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, said, sizeof(said) - 1) < 0)
		said[0] = '\0';
	close(fd);
	return strtol(said, NULL, 10) == SYS_ioctl;
}

/* A bitmap that has not come, in memory that the kit's userfaultfd watches. */
static uint8_t *absent_bitmap(const struct kit *kit)
{
	uint8_t *map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_register range = {.range = {.len = PAGE}, .mode = MISSING};

	assert_true(map != MAP_FAILED);
	range.range.start = (uintptr_t)map;
	assert_int_equal(ioctl(kit->uffd, UFFDIO_REGISTER, &range), 0);
	return map;
}

static void all_its_bits_are_set(const struct kit *kit, const uint8_t *map)
{
	static uint8_t ones[PAGE];
	struct uffdio_copy copy = {
		.dst = (uintptr_t)map, .src = (uintptr_t)ones, .len = sizeof(ones)};

	memset(ones, 0xff, sizeof(ones));
	assert_int_equal(ioctl(kit->uffd, UFFDIO_COPY, &copy), 0);
}

/*
 * Once the flag is off the bitmap can be freed: so a vCPU that is about to read a bit, as here, where it waits
 * for the bitmap's page, is waited for.
 */
static void whoever_still_reads_the_bitmap_is_waited_for(void **state)
{
	const struct kit *kit = *state;
	uint8_t *bitmap = absent_bitmap(kit);
	struct taking_off taking = {.kit = kit, .slot = kit_slot(kit, PF_KVM_MEM_USERFAULT)};
	struct touch reader, taker;
	struct uffd_msg event;
	struct vcpu vcpu;
	bool waited;

	taking.slot.userfault_bitmap = (uintptr_t)bitmap;
	assert_int_equal(kit_set_slot(kit, &taking.slot), 0);
	taking.slot.flags &= ~PF_KVM_MEM_USERFAULT;
	vcpu_open(&vcpu, kit, LOAD, 0);
	touch_start(&reader, run_blocking, &vcpu);
	wait_readable(kit->uffd);
	assert_int_equal(read(kit->uffd, &event, sizeof(event)), sizeof(event));
	assert_int_equal(event.arg.pagefault.address & ~(uint64_t)(PAGE - 1), (uintptr_t)bitmap);
	touch_start(&taker, take_off, &taking);
	WAIT_UNTIL(atomic_load(&taking.done) || stands_in_ioctl(&taking));
	waited = !atomic_load(&taking.done);
	all_its_bits_are_set(kit, bitmap);
	assert_int_equal(touch_end(&reader), (uint64_t)-EFAULT);
	assert_int_equal(touch_end(&taker), 0);
	assert_true(waited);
	munmap(bitmap, PAGE);
	assert_int_equal(vcpu_run(&vcpu), KVM_EXIT_HLT);
	vcpu_close(&vcpu);
}

/* A vCPU that reads one page for ever, and serves its own faults; what it must not read ends it. */
struct reading {
	struct vcpu vcpu;
	pthread_mutex_t page; /* filled and its bit cleared, or its bit set and taken: either as one */
	atomic_uint faults;
	atomic_bool stop;
};

static uint64_t read_and_serve(void *argument)
{
	struct reading *reading = argument;
	struct vcpu *vcpu = &reading->vcpu;
	const uint8_t *port = (uint8_t *)vcpu->run;
	uint64_t reads = 0;

	while (!atomic_load(&reading->stop)) {
		int said = vcpu_run(vcpu);

		if (said == -EFAULT && bit_is_set(vcpu->kit, DATA)) {
			pthread_mutex_lock(&reading->page);
			kit_write(vcpu->kit, DATA, 1);
			bit_clear(vcpu->kit, DATA);
			pthread_mutex_unlock(&reading->page);
			atomic_fetch_add(&reading->faults, 1);
		} else if (said != KVM_EXIT_IO ||
			   port[vcpu->run->io.data_offset] != low_byte(DATA)) {
			return 0;
		}
		reads++;
	}
	return reads;
}

/* The order that the bitmap's user keeps: the bit, then the page.  Never does the vCPU read a hole's zeros. */
static void a_bit_that_is_set_before_its_page_is_taken_holds(void **state)
{
	static struct reading reading = {.page = PTHREAD_MUTEX_INITIALIZER};
	const struct kit *kit = *state;
	struct touch touch;
	int punched;

	start(&reading.vcpu, kit, FOREVER);
	touch_start(&touch, read_and_serve, &reading);
	for (unsigned i = 0; i < 300; i++) {
		unsigned before = atomic_load(&reading.faults);

		pthread_mutex_lock(&reading.page);
		bit_set(kit, DATA);
		punched = fallocate(kit->gmem, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				    DATA * PAGE, PAGE);
		pthread_mutex_unlock(&reading.page);
		assert_int_equal(punched, 0);
		WAIT_UNTIL(atomic_load(&reading.faults) != before);
	}
	atomic_store(&reading.stop, true);
	assert_int_not_equal(touch_end(&touch), 0);
	vcpu_close(&reading.vcpu);
}

/* A vCPU that reads a page until it is told to stop. */
struct running {
	struct vcpu vcpu;
	atomic_bool stop;
};

/* How often it left for the page's bit; UINT64_MAX if it did anything but that and reading it. */
static uint64_t run_many(void *argument)
{
	struct running *running = argument;
	struct vcpu *vcpu = &running->vcpu;
	const uint8_t *port = (uint8_t *)vcpu->run;
	uint64_t faults = 0;

	while (!atomic_load(&running->stop)) {
		int said = vcpu_run(vcpu);

		if (said == -EFAULT) {
			faults++;
			bit_clear(vcpu->kit, DATA);
		} else if (said != KVM_EXIT_IO ||
			   port[vcpu->run->io.data_offset] != low_byte(DATA)) {
			return UINT64_MAX;
		}
	}
	return faults;
}

static void the_flag_comes_and_goes_while_a_vcpu_runs(void **state)
{
	static struct running running;
	const struct kit *kit = *state;
	struct touch touch;
	uint64_t faults;

	start(&running.vcpu, kit, FOREVER);
	assert_int_equal(kit_write(kit, DATA, 1), PAGE);
	touch_start(&touch, run_many, &running);
	for (unsigned i = 0; i < 40; i++) {
		toggle(kit, 0);
		bit_set(kit, DATA);
		toggle(kit, PF_KVM_MEM_USERFAULT);
	}
	/* Now it stays on: the vCPU leaves for the page, whatever it did before. */
	WAIT_UNTIL(!bit_is_set(kit, DATA));
	atomic_store(&running.stop, true);
	faults = touch_end(&touch);
	assert_in_range(faults, 1, 41);
	vcpu_close(&running.vcpu);
}

/* ---- another process, which maps nothing but the bitmap ---- */

static void send_fds(int socket, const int *fds, unsigned count)
{
	uint8_t control[CMSG_SPACE(4 * sizeof(int))] = {0};
	char byte = 0;
	struct iovec io = {.iov_base = &byte, .iov_len = 1};
	struct msghdr message = {.msg_iov = &io,
				 .msg_iovlen = 1,
				 .msg_control = control,
				 .msg_controllen = CMSG_SPACE(count * sizeof(int))};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(header), fds, count * sizeof(int));
	assert_int_equal(sendmsg(socket, &message, 0), 1);
}

static void receive_fds(int socket, int *fds, unsigned count)
{
	uint8_t control[CMSG_SPACE(4 * sizeof(int))];
	char byte;
	struct iovec io = {.iov_base = &byte, .iov_len = 1};
	struct msghdr message = {.msg_iov = &io,
				 .msg_iovlen = 1,
				 .msg_control = control,
				 .msg_controllen = sizeof(control)};

	if (recvmsg(socket, &message, 0) != 1 || !CMSG_FIRSTHDR(&message))
		_exit(3);
	memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&message)), count * sizeof(int));
}

/*
 * The agent: serves one fault of a vCPU and one of the VMM, by descriptors alone.  What it returns is
 * its exit status, and it asserts nothing: a failure there would go on with the parent's next test.
 */
static int serve(int socket, uint8_t *map)
{
	struct kit kit = {.map = map};
	struct uffd_msg event;
	struct pollfd poller = {.events = POLLIN};
	uint64_t page;
	int64_t mapped;
	int fds[3];

	receive_fds(socket, fds, 3);
	kit.uffd = fds[0];
	kit.gmem = fds[1];
	kit.bitmap = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fds[2], 0);
	if (kit.bitmap == MAP_FAILED || recv(socket, &page, sizeof(page), 0) != sizeof(page) ||
	    kit_write(&kit, page, 1) != PAGE)
		return 4;
	bit_clear(&kit, page);
	if (send(socket, &page, sizeof(page), 0) != sizeof(page))
		return 5;
	poller.fd = kit.uffd;
	if (poll(&poller, 1, DEADLINE_MS) != 1 || read(kit.uffd, &event, sizeof(event)) < 0 ||
	    event.arg.pagefault.address != (uintptr_t)map + (page + 1) * PAGE)
		return 6;
	if (kit_write(&kit, page + 1, 1) != PAGE || kit_continue(&kit, page + 1, 1, &mapped))
		return 7;
	bit_clear(&kit, page + 1);
	return 0;
}

static void another_process_serves_it_all(void **state)
{
	const struct kit *kit = *state;
	const int fds[] = {kit->uffd, kit->gmem, kit->bitmap_fd};
	int sockets[2], status;
	uint64_t page = DATA;
	struct touch touch;
	struct vcpu vcpu;
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
	pid = fork();
	if (pid == 0) {
		close(sockets[0]);
		munmap(kit->map, SIZE);
		_exit(serve(sockets[1], kit->map));
	}
	close(sockets[1]);
	start(&vcpu, kit, LOAD);
	send_fds(sockets[0], fds, 3);
	vcpu_faults(&vcpu, DATA);
	assert_int_equal(send(sockets[0], &page, sizeof(page), 0), sizeof(page));
	assert_int_equal(recv(sockets[0], &page, sizeof(page), 0), sizeof(page));
	assert_int_equal(vcpu_run(&vcpu), KVM_EXIT_HLT);
	assert_int_equal(vcpu_al(&vcpu), low_byte(DATA));
	touch_read(&touch, kit->map + (DATA + 1) * PAGE);
	assert_int_equal(touch_end(&touch), page_word(DATA + 1));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	vcpu_restart(&vcpu, DATA + 1);
	assert_int_equal(vcpu_run(&vcpu), KVM_EXIT_HLT);
	assert_int_equal(vcpu_al(&vcpu), low_byte(DATA + 1));
	vcpu_close(&vcpu);
	close(sockets[0]);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, kit_open, kit_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(kvm_says_that_it_can),
		TEST(a_vcpu_leaves_until_the_page_is_there_and_its_bit_clear),
		TEST(a_write_leaves_like_a_read),
		TEST(a_fetch_of_code_leaves_too),
		TEST(what_kvm_writes_for_the_guest_traps_in_userfaultfd),
		TEST(what_kvm_reads_for_the_guest_traps_in_userfaultfd),
		TEST(a_bit_is_looked_at_when_a_page_is_mapped_and_not_after),
		TEST(once_the_flag_is_off_no_bit_matters),
		TEST(the_flag_comes_on_for_a_slot_that_was_made_without_it),
		TEST(nothing_but_the_flag_changes_in_a_slot),
		TEST(while_the_flag_is_on_another_bitmap_is_refused),
		TEST(off_and_on_again_the_flag_brings_another_bitmap),
		TEST(a_bitmap_lies_where_longs_do_in_user_memory),
		TEST(a_bitmap_that_cannot_be_read_is_no_missing_page),
		TEST(an_ordinary_slot_can_have_one_as_well),
		TEST(without_the_flag_a_vcpu_reads_zeros_and_nobody_is_told),
		TEST(whoever_still_reads_the_bitmap_is_waited_for),
		TEST(a_bit_that_is_set_before_its_page_is_taken_holds),
		TEST(the_flag_comes_and_goes_while_a_vcpu_runs),
		TEST(another_process_serves_it_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
