# Completion for fish. The program itself knows what can follow (execlogd complete).
function __execlogd_complete
    set -l words (commandline --tokenize --cut-at-cursor --current-process)
    set -l found ($words[1] complete $words[2..] (commandline --current-token) 2>/dev/null)
    or true
    if set -q found[1]
        printf '%s\n' $found
    else
        __fish_complete_path (commandline --current-token)
    end
end
complete --command execlogd --no-files --arguments '(__execlogd_complete)'
