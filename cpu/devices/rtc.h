/* Goldfish RTC: nanoseconds of wall clock, and an alarm.
 * Android's GOLDFISH-VIRTUAL-HARDWARE text, "Goldfish real-time clock". */
#ifndef HARTWELL_RTC_H
#define HARTWELL_RTC_H

#include "hart/hart.h"

bool rtc_read(uint32_t offset, uint32_t size, uint64_t *value);
bool rtc_write(uint32_t offset, uint32_t size, uint64_t value);
void rtc_reset(void);

/* Raises the alarm when it is due; harts call it when they look at timers. */
void rtc_poll(void);

#endif
