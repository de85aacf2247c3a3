/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tests/guest/image.c - the guest program as bytes, generated from guest.ld's output by make. */
#include "tests/guest/replay.h"

const unsigned char pf_guest_image[] = {
#include "tests/guest/guest-image.h"
};
const uint32_t pf_guest_image_size = sizeof(pf_guest_image);
