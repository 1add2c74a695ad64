# The pattern of the formula: etc/release.sh puts in the address and the sum of the archive it has made, for a tap of one's own.
class Vmswitch < Formula
  desc "Ethernet switch for virtual machines, with an API"
  homepage "https://github.com/vmswitch/vmswitch"
  url "https://github.com/vmswitch/vmswitch/releases/download/v0.1.0/vmswitch-0.1.0.tar.gz"
  sha256 "0000000000000000000000000000000000000000000000000000000000000000"
  license "Apache-2.0"
  head "https://github.com/vmswitch/vmswitch.git", branch: "main"

  depends_on "cmake" => :build
  depends_on "pkgconf" => :build
  depends_on "jansson"
  depends_on "libmicrohttpd"
  depends_on "libslirp"
  depends_on "libuv"

  uses_from_macos "curl"

  on_linux do
    depends_on "glib"
  end

  def install
    system "cmake", "-S", ".", "-B", "build", "-DWERROR=OFF", *std_cmake_args
    system "cmake", "--build", "build", "--target", "programs"
    system "cmake", "--install", "build"
    bash_completion.install_symlink share/"bash-completion/completions/vmswitch"
  end

  # A daemon of the user who says "brew services start": networks of the modes internal and shared (user-mode NAT).
  # vmnet on macOS 15 and older needs root, and root does not run files that a user can replace: see docs/macos.md.
  service do
    run opt_sbin/"vmswitchd"
    keep_alive crashed: true
    process_type :interactive
    error_log_path var/"log/vmswitchd.log"
  end

  def caveats
    <<~EOS
      socket_vmnet and vmnet-helper are replaced outside of Homebrew, by files that only root can change:
        sudo #{opt_share}/vmswitch/install-dropin.sh install socket_vmnet
        sudo #{opt_share}/vmswitch/install-dropin.sh install vmnet-helper
      The same with "uninstall" switches back.
    EOS
  end

  test do
    (testpath/"vmswitchd.conf").write '{"networks": [{"name": "lab", "mode": "internal"}]}'
    daemon = spawn "#{sbin}/vmswitchd", "--config", "#{testpath}/vmswitchd.conf", "--runtime-dir", "#{testpath}/run",
                   "--state-dir", "#{testpath}/state"
    begin
      50.times do
        break if (testpath/"run/api.sock").exist?

        sleep 0.1
      end
      assert_match '"lab"', shell_output("#{bin}/vmswitch --socket #{testpath}/run/api.sock --json networks")
    ensure
      Process.kill "TERM", daemon
      Process.wait daemon
    end
  end
end
