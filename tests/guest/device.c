/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/guest/device.c - see tests/guest/device.h. */
#include "tests/guest/device.h"

#include <errno.h>

#include "tests/guest/layout.h"

static void transfer(volatile uint32_t *words)
{
	uint32_t copy[PF_GUEST_ECHO_WORDS];

	for (unsigned i = 0; i < PF_GUEST_ECHO_WORDS; i++)
		copy[i] = words[i];
	for (unsigned i = 0; i < PF_GUEST_ECHO_WORDS; i++)
		words[i] = copy[i];
}

static void *device_main(void *opaque)
{
	struct pf_device *device = opaque;

	pthread_mutex_lock(&device->lock);
	while (!device->end) {
		volatile uint32_t *words = device->words;

		if (!words) {
			pthread_cond_wait(&device->changed, &device->lock);
			continue;
		}
		/* This may wait for the page, and whoever parks the machine must see the vCPU wait. */
		pthread_mutex_unlock(&device->lock);
		transfer(words);
		pthread_mutex_lock(&device->lock);
		device->words = NULL;
		device->done++;
		pthread_cond_broadcast(&device->changed);
	}
	pthread_mutex_unlock(&device->lock);
	return NULL;
}

int pf_device_start(struct pf_device *device, struct pf_err *err)
{
	int sys;

	*device = (struct pf_device){0};
	pthread_mutex_init(&device->lock, NULL);
	pthread_cond_init(&device->changed, NULL);
	sys = pthread_create(&device->thread, NULL, device_main, device);
	device->started = sys == 0;
	if (device->started)
		return 0;
	errno = sys;
	return pf_err_sys(err, "starting the device's thread");
}

void pf_device_stop(struct pf_device *device)
{
	if (!device->started)
		return;
	pthread_mutex_lock(&device->lock);
	device->end = true;
	pthread_cond_broadcast(&device->changed);
	pthread_mutex_unlock(&device->lock);
	pthread_join(device->thread, NULL);
	pthread_cond_destroy(&device->changed);
	pthread_mutex_destroy(&device->lock);
	device->started = false;
}

void pf_device_transfer(struct pf_device *device, void *words)
{
	uint64_t mine;

	pthread_mutex_lock(&device->lock);
	while (device->words)
		pthread_cond_wait(&device->changed, &device->lock);
	mine = device->done;
	device->words = words;
	pthread_cond_broadcast(&device->changed);
	while (device->done == mine)
		pthread_cond_wait(&device->changed, &device->lock);
	pthread_mutex_unlock(&device->lock);
}
