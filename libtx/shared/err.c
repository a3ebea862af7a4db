/* err: see err.h. */
#include "libtx/shared/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *tx_strerror(int code)
{
    switch (code) {
#define TX_ERROR_CASE(name, number, text) \
    case number:                          \
        return text;
        TX_ERROR_LIST(TX_ERROR_CASE)
#undef TX_ERROR_CASE
    default:
        return "unknown error";
    }
}

int err_set(struct tx_error *e, int code, const char *format, ...)
{
    va_list args;

    if (e == NULL)
        return code;
    e->code = code;
    va_start(args, format);
    vsnprintf(e->msg, sizeof e->msg, format, args);
    va_end(args);
    return code;
}

int err_wrap(struct tx_error *e, int code, const char *format, ...)
{
    char inner[sizeof e->msg];
    va_list args;
    size_t n;

    if (e == NULL)
        return code;
    memcpy(inner, e->msg, sizeof inner);
    e->code = code;
    va_start(args, format);
    vsnprintf(e->msg, sizeof e->msg, format, args);
    va_end(args);
    n = strlen(e->msg);
    snprintf(e->msg + n, sizeof e->msg - n, ": %s", inner);
    return code;
}
