# What Debian wants otherwise than "cmake --install": compressed pages and changelogs, and a copyright file.
set(root ${CPACK_TEMPORARY_INSTALL_DIRECTORY}/usr)
set(doc ${root}/share/doc/vmswitch)
set(debian ${CPACK_VMSWITCH_SOURCE_DIR}/etc/debian)

configure_file(${debian}/copyright ${doc}/copyright COPYONLY)
configure_file(${debian}/changelog ${doc}/changelog.Debian COPYONLY)
file(RENAME ${doc}/CHANGELOG.md ${doc}/changelog)
# The configuration is dpkg's to keep over upgrades, and to ask about (conffiles).
file(MAKE_DIRECTORY ${CPACK_TEMPORARY_INSTALL_DIRECTORY}/etc/vmswitch)
configure_file(${debian}/vmswitchd.conf ${CPACK_TEMPORARY_INSTALL_DIRECTORY}/etc/vmswitch/vmswitchd.conf COPYONLY)
# zsh's own folder is for packages, site-functions for the administrator.
file(RENAME ${root}/share/zsh/site-functions ${root}/share/zsh/vendor-completions)

file(GLOB_RECURSE plain ${root}/share/man/*.[158])
execute_process(COMMAND gzip -9n ${plain} ${doc}/changelog ${doc}/changelog.Debian COMMAND_ERROR_IS_FATAL ANY)
