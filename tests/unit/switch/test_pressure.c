/* tests/unit/switch/test_pressure.c - the budget of waiting */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "switch/pressure.h"

static void fresh_source_may_wait_one_pause(void **state)
{
    (void)state;
    struct pressure pressure = {0};

    assert_int_equal(pressure_allowance_us(&pressure, 0), PRESSURE_PAUSE_MAX_US);
    assert_int_equal(pressure_allowance_us(&pressure, UINT64_MAX), PRESSURE_PAUSE_MAX_US);
}

static void budget_is_spent_then_comes_back(void **state)
{
    (void)state;
    struct pressure pressure = {0};
    uint64_t now_us = 5000000;

    for (int i = 0; i < 9; i++) {
        assert_int_equal(pressure_allowance_us(&pressure, now_us), 1000);
        now_us += 1000;
        pressure_spend(&pressure, now_us, 1000);
    }
    pressure_spend(&pressure, now_us, 300);
    assert_int_equal(pressure_allowance_us(&pressure, now_us), 700);
    pressure_spend(&pressure, now_us, 700);
    assert_int_equal(pressure_allowance_us(&pressure, now_us), 0);
    assert_int_equal(pressure_allowance_us(&pressure, now_us + 90000), 0);
    assert_int_equal(pressure_allowance_us(&pressure, now_us + 120000), 1000);
}

static void late_timer_is_booked_in_full(void **state)
{
    (void)state;
    struct pressure pressure = {0};

    pressure_spend(&pressure, 1000000, UINT32_MAX);
    pressure_spend(&pressure, 1000000, UINT32_MAX);
    assert_int_equal(pressure_allowance_us(&pressure, 1000000), 0);
    assert_int_equal(pressure_allowance_us(&pressure, 1099999), 0);
    assert_int_equal(pressure_allowance_us(&pressure, 1110000), 1000);
}

static void clock_that_goes_back_grants_nothing_extra(void **state)
{
    (void)state;
    struct pressure pressure = {0};

    pressure_spend(&pressure, 1000000, PRESSURE_BUDGET_US);
    assert_int_equal(pressure_allowance_us(&pressure, 10), 0);
    assert_int_equal(pressure_allowance_us(&pressure, 1000000), 0);
}

/* A greedy source waits whenever it may: no window of 100 ms, wherever it starts, holds over 10 ms. */
static void no_window_holds_more_than_the_budget(void **state)
{
    (void)state;
    enum { STEP_US = 50, N_STEPS = 20000, WINDOW = PRESSURE_WINDOW_US / STEP_US };
    static uint8_t is_waiting[N_STEPS];
    struct pressure pressure = {0};
    uint32_t random = 1;
    size_t step = 0;

    while (step < N_STEPS) {
        random = random * 1664525 + 1013904223;
        uint32_t wait_us = pressure_allowance_us(&pressure, step * STEP_US);
        size_t n = wait_us / STEP_US;
        if (n == 0 || random >> 30 == 0) {
            step++;
            continue;
        }
        for (size_t i = 0; i < n && step < N_STEPS; i++)
            is_waiting[step++] = 1;
        pressure_spend(&pressure, step * STEP_US, wait_us);
    }

    uint32_t waited = 0;
    uint32_t most = 0;
    for (size_t i = 0; i < N_STEPS; i++) {
        waited += is_waiting[i];
        waited -= i >= WINDOW ? is_waiting[i - WINDOW] : 0;
        most = waited > most ? waited : most;
    }
    assert_in_range(most * STEP_US, PRESSURE_BUDGET_US - PRESSURE_PAUSE_MAX_US, PRESSURE_BUDGET_US);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fresh_source_may_wait_one_pause),
        cmocka_unit_test(budget_is_spent_then_comes_back),
        cmocka_unit_test(late_timer_is_booked_in_full),
        cmocka_unit_test(clock_that_goes_back_grants_nothing_extra),
        cmocka_unit_test(no_window_holds_more_than_the_budget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
