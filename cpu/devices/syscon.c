#include "devices/syscon.h"

enum { FAIL = 0x3333, PASS = 0x5555, RESET = 0x7777 };

bool syscon_read(uint32_t offset, uint32_t size, uint64_t *value)
{
    (void)offset;
    *value = 0;
    return size == 4 || size == 2;
}

bool syscon_write(uint32_t offset, uint32_t size, uint64_t value)
{
    if (size != 4 && size != 2)
        return false;
    if (offset != 0)
        return true;
    switch (value & 0xffff) {
    case FAIL: machine_stop(STOP_EXIT, (uint32_t)value >> 16); break;
    case PASS: machine_stop(STOP_POWEROFF, 0); break;
    case RESET: machine_stop(STOP_REBOOT, 0); break;
    default: break;
    }
    return true;
}
