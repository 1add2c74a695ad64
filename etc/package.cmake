# The Debian package: cmake --preset package && cmake --build build/package && cpack --config build/package/CPackConfig.cmake
# (with SOURCE_DATE_EPOCH set, the same bytes each time). Everything that "cmake --install" puts below /usr is in it.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME vmswitch)
set(CPACK_PACKAGE_VENDOR vmswitch)
set(CPACK_PACKAGE_CONTACT "The vmswitch developers <vmswitch@users.noreply.github.com>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "Ethernet switch for virtual machines, with an API")
set(CPACK_PACKAGE_HOMEPAGE_URL "https://github.com/vmswitch/vmswitch")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "init-system-helpers (>= 1.54~), systemd | systemd-standalone-sysusers | systemd-sysusers")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "qemu-system, dnsmasq-base, libnftables1")
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
  "vmswitchd joins virtual machines into named networks. Each network is a
switch that learns which address is behind which port, in a process of its
own without privilege, with one way out: user-mode NAT, a TAP, or none. VMs
plug in by unix sockets, as QEMU, libkrun and vfkit do; an API on a unix
socket makes, shows and removes networks and ports. vmswitch is its command
line.")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
  ${CMAKE_CURRENT_SOURCE_DIR}/debian/postinst ${CMAKE_CURRENT_SOURCE_DIR}/debian/prerm ${CMAKE_CURRENT_SOURCE_DIR}/debian/postrm
  ${CMAKE_CURRENT_SOURCE_DIR}/debian/conffiles)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_CURRENT_SOURCE_DIR}/debian/finish.cmake)
set(CPACK_VMSWITCH_SOURCE_DIR ${CMAKE_SOURCE_DIR}) # for finish.cmake
include(CPack)
