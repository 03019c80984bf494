/*
 * Dates are computed here and not by gmtime_r: a receipt carries one, so this runs for every accepted
 * request, and for every attempt. The calendar arithmetic counts days from 1 March, so that the leap day ends its year.
 */
#include "base/units.h"

#include "base/clock.h"
#include "base/error.h"

#define SECONDS_PER_DAY UINT64_C(86400)
#define YEAR_MAX        2500u
#define DAYS_MAX        UINT64_C(100000)
#define DAYS_PER_ERA    146097u /* 400 years */
#define DAYS_TO_1970    719468u /* from 0000-03-01 */

static bool is_digit(uint8_t c) {
    return c >= '0' && c <= '9';
}

static void put_digits(char *out, uint32_t value, size_t count) {
    for (size_t i = count; i-- > 0;) {
        out[i] = (char)('0' + value % 10);
        value /= 10;
    }
}

static void civil_from_days(uint32_t days, uint32_t *year, uint32_t *month, uint32_t *day) {
    uint32_t shifted = days + DAYS_TO_1970;
    uint32_t era = shifted / DAYS_PER_ERA;
    uint32_t of_era = shifted % DAYS_PER_ERA;
    uint32_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    uint32_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    uint32_t from_march = (5 * of_year + 2) / 153;
    *day = of_year - (153 * from_march + 2) / 5 + 1;
    *month = from_march < 10 ? from_march + 3 : from_march - 9;
    *year = year_of_era + era * 400 + (*month <= 2 ? 1 : 0);
}

static uint32_t days_from_civil(uint32_t year, uint32_t month, uint32_t day) {
    uint32_t y = month <= 2 ? year - 1 : year;
    uint32_t era = y / 400, year_of_era = y % 400;
    uint32_t of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    uint32_t of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    return era * DAYS_PER_ERA + of_era - DAYS_TO_1970;
}

static size_t put_fraction(uint32_t ns, char *out) {
    size_t digits = ns % 1000 != 0 ? 9 : ns % 1000000 != 0 ? 6 : 3;
    out[0] = '.';
    put_digits(out + 1, digits == 9 ? ns : digits == 6 ? ns / 1000 : ns / 1000000, digits);
    return digits + 1;
}

size_t time_format(uint64_t ns, char out[TIME_TEXT_BYTES]) {
    uint64_t seconds = ns / NS_PER_SECOND;
    uint32_t of_day = (uint32_t)(seconds % SECONDS_PER_DAY);
    uint32_t year, month, day;
    civil_from_days((uint32_t)(seconds / SECONDS_PER_DAY), &year, &month, &day);
    memcpy(out, "0000-00-00T00:00:00", 19);
    put_digits(out, year, 4);
    put_digits(out + 5, month, 2);
    put_digits(out + 8, day, 2);
    put_digits(out + 11, of_day / 3600, 2);
    put_digits(out + 14, of_day / 60 % 60, 2);
    put_digits(out + 17, of_day % 60, 2);
    size_t size = 19 + put_fraction((uint32_t)(ns % NS_PER_SECOND), out + 19);
    out[size++] = 'Z';
    out[size] = '\0';
    return size;
}

/* Exactly `count` digits at `at`; false when they are not there. */
static bool take_digits(struct span text, size_t at, size_t count, uint32_t *ret) {
    if (at + count > text.size) {
        return false;
    }
    uint32_t value = 0;
    for (size_t i = at; i < at + count; i++) {
        if (!is_digit(text.data[i])) {
            return false;
        }
        value = value * 10 + (uint32_t)(text.data[i] - '0');
    }
    *ret = value;
    return true;
}

static bool is_char(struct span text, size_t at, char c) {
    return at < text.size && text.data[at] == (uint8_t)c;
}

static uint32_t days_in_month(uint32_t year, uint32_t month) {
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

/* ".123" at *at: ns, and *at behind it. At most 9 digits count. */
static bool take_fraction(struct span text, size_t *at, uint32_t *ret_ns) {
    *ret_ns = 0;
    if (!is_char(text, *at, '.')) {
        return true;
    }
    size_t start = ++*at;
    uint32_t scale = 100000000;
    for (; *at < text.size && is_digit(text.data[*at]); ++*at, scale /= 10) {
        *ret_ns += (uint32_t)(text.data[*at] - '0') * scale;
    }
    return *at > start && *at - start <= 9;
}

/* "Z" or "+09:00" up to the end of the text: seconds east of Greenwich. */
static bool take_offset(struct span text, size_t at, int32_t *ret_seconds) {
    uint32_t hours, minutes;
    if (at + 1 == text.size && (text.data[at] == 'Z' || text.data[at] == 'z')) {
        *ret_seconds = 0;
        return true;
    }
    bool east = is_char(text, at, '+');
    if ((!east && !is_char(text, at, '-')) || !take_digits(text, at + 1, 2, &hours) ||
        !is_char(text, at + 3, ':') || !take_digits(text, at + 4, 2, &minutes) ||
        at + 6 != text.size || hours > 23 || minutes > 59) {
        return false;
    }
    int32_t seconds = (int32_t)(hours * 3600 + minutes * 60);
    *ret_seconds = east ? seconds : -seconds;
    return true;
}

int time_parse(struct span text, uint64_t *ret_ns) {
    uint32_t year, month, day, hour, minute, second, fraction;
    int32_t offset;
    size_t at = 19;
    bool shaped =
        take_digits(text, 0, 4, &year) && is_char(text, 4, '-') &&
        take_digits(text, 5, 2, &month) && is_char(text, 7, '-') && take_digits(text, 8, 2, &day) &&
        (is_char(text, 10, 'T') || is_char(text, 10, 't')) && take_digits(text, 11, 2, &hour) &&
        is_char(text, 13, ':') && take_digits(text, 14, 2, &minute) && is_char(text, 16, ':') &&
        take_digits(text, 17, 2, &second) && take_fraction(text, &at, &fraction) &&
        take_offset(text, at, &offset);
    if (!shaped || year < 1970 || year > YEAR_MAX || month < 1 || month > 12 || day < 1 ||
        day > days_in_month(year, month) || hour > 23 || minute > 59 || second > 59) {
        return E_INVALID;
    }
    int64_t seconds = (int64_t)(days_from_civil(year, month, day) * SECONDS_PER_DAY) +
                      (int64_t)(hour * 3600 + minute * 60 + second) - offset;
    if (seconds < 0) {
        return E_INVALID;
    }
    *ret_ns = (uint64_t)seconds * NS_PER_SECOND + fraction;
    return 0;
}

size_t duration_format(uint64_t ns, char out[DURATION_TEXT_BYTES]) {
    size_t size = u64_format(ns / NS_PER_SECOND, out);
    uint32_t fraction = (uint32_t)(ns % NS_PER_SECOND);
    if (fraction != 0) {
        out[size] = '.';
        put_digits(out + size + 1, fraction, 9);
        size += 10;
        while (out[size - 1] == '0') {
            size--;
        }
    }
    out[size++] = 's';
    out[size] = '\0';
    return size;
}

static uint64_t unit_ns(struct span unit) {
    static const struct {
        const char *name;
        uint64_t ns;
    } units[] = {{"s", NS_PER_SECOND},
                 {"ms", NS_PER_MS},
                 {"m", 60 * NS_PER_SECOND},
                 {"h", 3600 * NS_PER_SECOND},
                 {"d", SECONDS_PER_DAY * NS_PER_SECOND}};
    for (size_t i = 0; i < ARRAY_LENGTH(units); i++) {
        if (span_is(unit, units[i].name)) {
            return units[i].ns;
        }
    }
    return 0;
}

int duration_parse(struct span text, uint64_t *ret_ns) {
    size_t at = 0;
    uint64_t whole = 0;
    for (; at < text.size && is_digit(text.data[at]); at++) {
        whole = whole * 10 + (uint64_t)(text.data[at] - '0');
        if (whole > DAYS_MAX * SECONDS_PER_DAY * 1000) {
            return E_INVALID;
        }
    }
    uint32_t fraction;
    if (at == 0 || !take_fraction(text, &at, &fraction)) {
        return E_INVALID;
    }
    uint64_t unit = unit_ns(span_of(text.data + at, text.size - at));
    const uint64_t max_ns = DAYS_MAX * SECONDS_PER_DAY * NS_PER_SECOND;
    if (unit == 0 || whole > max_ns / unit) {
        return E_INVALID;
    }
    /* fraction < 10^9 and unit <= 8.64 * 10^13: split, so that the product fits. */
    uint64_t part = unit >= NS_PER_SECOND ? fraction * (unit / NS_PER_SECOND)
                                          : fraction / (NS_PER_SECOND / unit);
    *ret_ns = whole * unit + part;
    return 0;
}

int u64_parse(struct span text, uint64_t *ret_value) {
    if (text.size == 0 || text.size > 20 || (text.data[0] == '0' && text.size > 1)) {
        return E_INVALID;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < text.size; i++) {
        uint64_t digit = (uint64_t)text.data[i] - '0';
        if (digit > 9 || value > (UINT64_MAX - digit) / 10) {
            return E_INVALID;
        }
        value = value * 10 + digit;
    }
    *ret_value = value;
    return 0;
}

size_t u64_format(uint64_t value, char *out) {
    char reversed[20];
    size_t size = 0;
    do {
        reversed[size++] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    for (size_t i = 0; i < size; i++) {
        out[i] = reversed[size - 1 - i];
    }
    return size;
}
