/*
 * report/metrics_page.h: the page that Prometheus reads.
 */
#ifndef WALT_VPN_REPORT_METRICS_PAGE_H
#define WALT_VPN_REPORT_METRICS_PAGE_H

void metrics_page_register_hooks(void);

#endif
