/*
 * report/status_page.h: the section on mod_status's page.
 */
#ifndef WALT_VPN_REPORT_STATUS_PAGE_H
#define WALT_VPN_REPORT_STATUS_PAGE_H

void status_page_register_hooks(void);

#endif
